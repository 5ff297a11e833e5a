"""Values that a shell may complete."""

from __future__ import annotations


def runtime_names(incomplete: str) -> list[str]:
    """Return the names of runtimes that begin with what was typed; nothing where they cannot be read."""
    from emberbox.cli.context import GlobalOptions, catalog
    from emberbox.errors import EmberboxError

    try:
        names = catalog(GlobalOptions().settings()).names
    except EmberboxError:
        return []
    return [name for name in names if name.startswith(incomplete)]

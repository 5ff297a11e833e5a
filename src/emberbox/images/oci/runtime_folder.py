"""Writes the manifest of a runtime that an imported image becomes."""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.errors import ImageImportFailed
from emberbox.text import escaped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emberbox.images.oci.importer import ImportedRoot

SCRIPT = "{script}"
_VERSION = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeText:
    """What a person may choose about an imported runtime.

    Args:
        name: The runtime's name.
        tag: The image's tag, for people; None without one.
        run: Command with `{script}` that scripts are run by; None for the image's own program.
        cwd: Folder that runs start in; None for the image's own, or for the work folder where
            scripts are run.
        memory_mib: The guest's memory.
    """

    name: str
    tag: str | None = None
    run: tuple[str, ...] | None = None
    cwd: str | None = None
    memory_mib: int = 256


def runtime_text(root: ImportedRoot, choice: RuntimeText) -> str:
    """Return the manifest's text; raises `ImageImportFailed` where neither image nor user names a program."""
    argv, arguments = choice.run or root.entrypoint, root.cmd
    if not argv:
        argv, arguments = arguments, ()
    if not argv:
        raise ImageImportFailed(
            f"{root.source} names no program of its own; "
            "name what runs scripts in it: --run 'INTERPRETER {SCRIPT}'"
        )
    cwd = choice.cwd or (root.cwd if choice.run is None else None)
    if choice.run is None and "/" in argv[0] and not argv[0].startswith("/"):
        # What the image says is relative to its own working folder, which is its root where it names none.
        argv = (posixpath.normpath(posixpath.join("/", root.cwd or "", argv[0])), *argv[1:])
    if choice.run is None and any(part in argument for argument in argv for part in (SCRIPT, "{output}")):
        raise ImageImportFailed(
            f"the command of {root.source} holds {SCRIPT} or {{output}}; name another one with --run"
        )
    home = {"HOME": root.home} if root.home is not None else {}
    lines = [
        f"# Made from {_comment(root.source)} by `emberbox images import`.",
        f"name = {_quoted(choice.name)}",
        f"version = {_quoted((choice.tag or root.digest.removeprefix('sha256:')[:12])[:_VERSION])}",
        f"description = {_quoted(f'Imported from {_comment(root.source)}'[:200])}",
        "",
        "[image]",
        f"imported = {_quoted(root.digest)}",
        "",
        "[run]",
        f"argv = {_list(argv)}",
        *([f"arguments = {_list(arguments)}"] if arguments and choice.run is None else []),
        *([f"cwd = {_quoted(_absolute(cwd))}"] if cwd is not None else []),
        *([f"user = {_quoted(root.user)}"] if root.user is not None else []),
        "",
        "[limits]",
        f"memory_mib = {choice.memory_mib}",
        "",
        "[env]",
        *_variables({**home, **root.env}),
    ]
    return "\n".join(lines) + "\n"


def _variables(values: Mapping[str, str]) -> list[str]:
    return [f"{name} = {_quoted(value)}" for name, value in values.items()]


def _absolute(path: str) -> str:
    return posixpath.normpath(posixpath.join("/", path))


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(_quoted(value) for value in values)}]"


def _quoted(text: str) -> str:
    """Return a basic string of TOML: JSON's, but for one character that TOML wants escaped as well."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    return escaped(text)

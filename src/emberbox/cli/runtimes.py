"""`emberbox runtimes`: the languages that can be run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from emberbox.cli import context
from emberbox.cli.tables import megabytes, print_json, print_table

if TYPE_CHECKING:
    from emberbox.images import ImageStore
    from emberbox.runtimes import Runtime


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("runtimes")(show)


def show(ctx: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the languages that can be run."""
    settings = ctx.obj.settings()
    store = context.image_store(settings)
    found = [describe(runtime, store) for runtime in context.catalog(settings)]
    if json:
        print_json(found)
        return
    columns = ("RUNTIME", "VERSION", "ALIASES", "FILES", "WAITING", "IMAGE")
    print_table(columns, [_row(values) for values in found])


def describe(runtime: Runtime, store: ImageStore) -> dict[str, Any]:
    """Return what there is to know of a runtime, as JSON-ready values. `image_bytes` is None when its image was not built."""
    image = store.find(runtime)
    return {
        "name": runtime.name,
        "version": runtime.version,
        "description": runtime.description,
        "aliases": list(runtime.aliases),
        "extensions": list(runtime.extensions),
        "waiting": runtime.waiting is not None,
        "built": image is not None,
        "image_bytes": None if image is None else sum(image.sizes.values()),
        "folder": str(runtime.folder),
    }


def _row(values: dict[str, Any]) -> tuple[str, ...]:
    size = values["image_bytes"]
    return (
        values["name"],
        values["version"],
        ", ".join(values["aliases"]) or "-",
        " ".join(values["extensions"]) or "-",
        "yes" if values["waiting"] else "no",
        "not built" if size is None else megabytes(size),
    )

"""`emberbox runtimes`: the languages that can be run."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli import context
from emberbox.cli.commands import argument, group, takes
from emberbox.cli.context import runtime_names
from emberbox.cli.options import JSON
from emberbox.cli.tables import megabytes, print_found, print_json, print_table

if TYPE_CHECKING:
    from emberbox.images import ImageStore
    from emberbox.runtimes import Runtime


def register(app: typer.Typer) -> None:
    """Add the commands."""
    from emberbox.cli.local import runtimes_check

    text = "List, show and check the languages that can be run. Without a command: list."
    made = group(app, "runtimes", text, list_, show, default=_default)
    made.command("check", epilog=runtimes_check.EPILOG)(runtimes_check.check)


@takes(JSON)
def _default(ctx: typer.Context, *, json: bool) -> None:
    if ctx.invoked_subcommand is None:
        list_(ctx, json=json)


@takes(JSON)
def list_(ctx: typer.Context, *, json: bool) -> None:
    """List the languages that can be run."""
    settings = ctx.obj.settings()
    store = context.image_store(settings)
    found = [describe(runtime, store) for runtime in context.catalog(settings)]
    columns = ("RUNTIME", "VERSION", "ALIASES", "FILES", "WAITING", "IMAGE")
    print_found(found, columns, _row, json=json)


@takes(JSON)
def show(
    ctx: typer.Context,
    name: Annotated[str, argument("NAME", "Name or alias.", autocompletion=runtime_names)],
    *,
    json: bool,
) -> None:
    """Show what a language's manifest says."""
    settings = ctx.obj.settings()
    runtime = context.catalog(settings).get(name)
    values = {**describe(runtime, context.image_store(settings)), **_recipe(runtime)}
    if json:
        print_json(values)
        return
    print_table(
        ("FIELD", "VALUE"),
        [(field, _shown(value)) for field, value in values.items() if value not in ([], {}, "")],
    )


def describe(runtime: Runtime, store: ImageStore) -> dict[str, Any]:
    """Return what there is to know of a runtime, as JSON-ready values.

    `image_bytes` is None when its image was not built.
    """
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


def _recipe(runtime: Runtime) -> dict[str, Any]:
    from emberbox.runtimes.package_tools.registry import TOOLS

    compiling = runtime.compile
    return {
        "packages": list(runtime.image.packages),
        **{tool: list(runtime.image.baked.get(tool, ())) for tool in TOOLS},
        "compile": [] if compiling is None else list(compiling.argv),
        "run": list(runtime.argv),
        "main": list(runtime.main),
        "env": dict(runtime.env),
        "limits": asdict(runtime.limits),
        "examples": sorted(path.name for path in (runtime.folder / "examples").glob("*") if path.is_file()),
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


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {'-' if item is None else item}" for name, item in value.items())
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)

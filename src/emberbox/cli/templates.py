"""`emberbox templates`: warm VMs that were frozen, to be cloned."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import context
from emberbox.cli.failures import say
from emberbox.cli.tables import megabytes, print_json, print_table, when

if TYPE_CHECKING:
    from emberbox.sandbox import TemplateRecord


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Show and remove the frozen VMs that others are cloned from.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("list")(show)
    group.command("prune")(prune)
    app.add_typer(group, name="templates")


def show(ctx: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List all templates, newest first."""
    from emberbox.sandbox.stored_templates import stored_templates

    found = stored_templates(ctx.obj.settings().data / "templates")
    if json:
        print_json([asdict(record) for record in found])
    elif not found:
        say("there are no templates yet; they are made at first use, or by: emberbox setup")
    else:
        columns = ("RUNTIME", "KEY", "VM", "DRIVER", "WAITING", "BUILT", "ON DISK")
        print_table(columns, [_row(record) for record in found], right=("ON DISK",))


def _row(record: TemplateRecord) -> tuple[str, ...]:
    return (
        record.runtime,
        record.key[:12],
        f"{record.vcpus} × {record.memory_mib} MiB",
        f"{record.driver} {record.accelerator}",
        "yes" if record.waiting else "no",
        when(record.built_at),
        megabytes(record.stored_bytes),
    )


def prune(
    ctx: typer.Context, dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False
) -> None:
    """Remove the templates of images that no runtime uses any more. VMs that live go on."""
    from emberbox.sandbox.stored_templates import prune_templates

    settings = ctx.obj.settings()
    store = context.image_store(settings)
    images = {image.key for runtime in context.catalog(settings) if (image := store.find(runtime)) is not None}
    removed = prune_templates(settings.data / "templates", keep_images=images, dry_run=dry_run)
    word = "would remove" if dry_run else "removed"
    typer.echo(f"{word} {len(removed)} templates: {megabytes(sum(record.stored_bytes for record in removed))}")
    for record in removed:
        typer.echo(f"  {record.runtime} {record.key[:12]}")

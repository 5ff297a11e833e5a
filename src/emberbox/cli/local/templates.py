"""`emberbox templates`: warm VMs that were frozen, to be cloned."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli import context
from emberbox.cli.commands import group, takes
from emberbox.cli.options import DRY_RUN, JSON
from emberbox.cli.tables import megabytes, print_found, print_removed, when

if TYPE_CHECKING:
    from emberbox.sandbox import TemplateRecord


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "Show and remove the frozen VMs that others are cloned from."
    group(app, "templates", text, list_, prune)


@takes(JSON)
def list_(ctx: typer.Context, *, json: bool) -> None:
    """List all templates, newest first."""
    from emberbox.sandbox.templates.stored import stored_templates

    found = stored_templates(ctx.obj.settings().data / "templates")
    columns = ("RUNTIME", "KEY", "VM", "DRIVER", "WAITING", "BUILT", "ON DISK")
    nothing = "there are no templates yet; they are made at first use, or by: emberbox setup"
    print_found(found, columns, _row, json=json, plain=asdict, right=("ON DISK",), nothing=nothing)


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


@takes(DRY_RUN)
def prune(ctx: typer.Context, *, dry_run: bool) -> None:
    """Remove the templates of images that no runtime uses any more. VMs that live go on."""
    from emberbox.sandbox.templates.stored import prune_templates

    settings = ctx.obj.settings()
    store = context.image_store(settings)
    images = {
        image.key for runtime in context.catalog(settings) if (image := store.find(runtime)) is not None
    }
    removed = prune_templates(settings.data / "templates", keep_images=images, dry_run=dry_run)
    freed = megabytes(sum(record.stored_bytes for record in removed))
    names = [f"{record.runtime} {record.key[:12]}" for record in removed]
    print_removed(f"{len(removed)} templates: {freed}", names, dry_run=dry_run)

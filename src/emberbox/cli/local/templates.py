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
    from emberbox.sandbox.templates.stored import in_use, stored_templates, used_at

    root = ctx.obj.settings().data / "templates"

    def plain(record: TemplateRecord) -> dict[str, object]:
        used = {"used_at": used_at(root, record.key), "in_use": in_use(root, record.key)}
        return asdict(record) | used

    def row(record: TemplateRecord) -> tuple[str, ...]:
        used = "now" if in_use(root, record.key) else when(used_at(root, record.key))
        return (*_row(record), record.scope or "-", used, megabytes(record.stored_bytes))

    columns = ("RUNTIME", "KEY", "VM", "DRIVER", "WAITING", "BUILT", "MADE FOR", "USED", "ON DISK")
    nothing = "there are no templates yet; they are made at first use, or by: emberbox setup"
    found = stored_templates(root)
    print_found(found, columns, row, json=json, plain=plain, right=("ON DISK",), nothing=nothing)


def _row(record: TemplateRecord) -> tuple[str, ...]:
    return (
        record.runtime,
        record.key[:12],
        f"{record.vcpus} × {record.memory_mib} MiB",
        f"{record.driver} {record.accelerator}",
        "yes" if record.waiting else "no",
        when(record.built_at),
    )


@takes(DRY_RUN)
def prune(ctx: typer.Context, *, dry_run: bool) -> None:
    """Remove templates of images that no runtime uses any more, and what is beyond templates.disk_mib.

    Those that were unused for longest go first. What an engine has open stays.
    """
    from emberbox.sandbox.templates.stored import prune_templates, trim_templates

    settings = ctx.obj.settings()
    store = context.image_store(settings)
    images = {
        image.key for runtime in context.catalog(settings) if (image := store.find(runtime)) is not None
    }
    root = settings.data / "templates"
    removed = prune_templates(root, keep_images=images, dry_run=dry_run)
    gone = {record.key for record in removed}
    beyond = trim_templates(root, settings.templates.disk_mib, without=gone, dry_run=dry_run)
    removed += beyond
    freed = megabytes(sum(record.stored_bytes for record in removed))
    names = [f"{record.runtime} {record.key[:12]}" for record in removed]
    print_removed(f"{len(removed)} templates: {freed}", names, dry_run=dry_run)

"""`emberbox images`: what VMs boot from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from emberbox.cli import context, exit_codes
from emberbox.cli.commands import argument, group, option, takes
from emberbox.cli.context import runtime_names
from emberbox.cli.failures import say
from emberbox.cli.local.images_build import build
from emberbox.cli.local.images_import import import_, remove
from emberbox.cli.local.images_update import update
from emberbox.cli.options import DRY_RUN, JSON
from emberbox.cli.tables import megabytes, print_found, print_json, print_removed, when

if TYPE_CHECKING:
    from emberbox.images import StoredImage

_RUNTIME = argument("RUNTIME", "Name or alias of a runtime.", autocompletion=runtime_names)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "Show, build and remove the images that VMs boot from."
    group(app, "images", text, list_, build, import_, update, inspect, verify, remove, prune)


def describe(stored: StoredImage) -> dict[str, Any]:
    """Return what is known of an image, as JSON-ready values, without its packages."""
    image = stored.image
    return {
        "runtime": image.runtime,
        "key": image.key,
        "newest": stored.newest,
        "built_at": stored.built_at,
        "bytes": sum(image.sizes.values()),
        "sizes": dict(image.sizes),
        "digests": dict(image.digests),
        "files": {
            "kernel": str(image.kernel),
            "initramfs": str(image.initramfs),
            "rootfs": str(image.rootfs),
        },
        "inputs": dict(stored.inputs),
        "imported": dict(stored.imported) or None,
    }


@takes(JSON)
def list_(ctx: typer.Context, *, json: bool) -> None:
    """List all images, newest first."""
    found = [describe(stored) for stored in context.image_store(ctx.obj.settings()).list()]
    columns = ("RUNTIME", "KEY", "BUILT", "SIZE", "", "IMPORTED FROM")
    nothing = "there are no images yet; build them: emberbox setup"
    print_found(found, columns, _row, json=json, right=("SIZE",), nothing=nothing)


def _row(values: dict[str, Any]) -> tuple[str, ...]:
    imported = values["imported"]
    return (
        values["runtime"],
        values["key"][:12],
        when(values["built_at"]),
        megabytes(values["bytes"]),
        "newest" if values["newest"] else "old",
        "" if imported is None else f"{imported['source']} {imported['digest'][:19]}",
    )


def inspect(
    ctx: typer.Context,
    runtime: Annotated[str, _RUNTIME],
    key: Annotated[
        str | None, option("--key", "Beginning of an image's key; left out, the newest.", "KEY")
    ] = None,
) -> None:
    """Show what an image is made of, as JSON, with the versions of Debian's and languages' packages."""
    settings = ctx.obj.settings()
    stored = context.image_store(settings).inspect(context.catalog(settings).get(runtime).name, key)
    print_json({**describe(stored), "packages": dict(stored.packages), "libraries": dict(stored.libraries)})


def verify(ctx: typer.Context) -> int:
    """Read all images whole and compare them with their digests."""
    from emberbox.errors import ImageCorrupt

    store = context.image_store(ctx.obj.settings())
    code = exit_codes.OK
    for stored in store.list():
        name = f"{stored.image.runtime} {stored.image.key[:12]}"
        try:
            store.verify(stored.image)
        except ImageCorrupt as error:
            say(f"{name}: {error.message}")
            code = exit_codes.FINDINGS
        else:
            typer.echo(f"{name}: as it was built")
    return code


@takes(DRY_RUN)
def prune(ctx: typer.Context, *, dry_run: bool) -> None:
    """Remove all images but the newest of each runtime, and files that no image needs."""
    settings = ctx.obj.settings()
    store = context.image_store(settings)
    # The image of an imported runtime can only be imported again: it goes when the runtime's folder
    # was removed.
    known = set(context.catalog(settings).names)
    gone = {entry.image.runtime for entry in store.list() if entry.imported} - known
    report = store.prune(dry_run=dry_run, gone=gone)
    what = f"{len(report.images)} images and {len(report.objects)} files: {megabytes(report.bytes_freed)}"
    print_removed(what, [key[:12] for key in report.images], dry_run=dry_run)

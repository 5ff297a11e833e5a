"""`emberbox images update`: renews images whose packages Debian has newer versions of."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli import context, exit_codes
from emberbox.cli.commands import argument, option, takes
from emberbox.cli.context import runtime_names
from emberbox.cli.failures import say
from emberbox.cli.options import JSON
from emberbox.cli.tables import print_json, write_out
from emberbox.errors import EmberboxError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.config import Settings
    from emberbox.images import Image, ImageStore, Progress
    from emberbox.images.updates import ImageUpdate
    from emberbox.runtimes import Runtime
    from emberbox.sandbox import Engine

_SHOWN = 20
"""Changed packages that are named for people, those of the security archive first; JSON has all."""


@takes(JSON)
def update(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        argument("[RUNTIME...]", "Only these; else all that have an image.", autocompletion=runtime_names),
    ] = None,
    check: Annotated[bool, option("--check", "Build nothing; exit with 1 where packages are newer.")] = False,
    *,
    json: bool,
) -> int:
    """Renew the images of which Debian has newer packages, such as security fixes.

    Debian's lists are compared with what each image was made of. An image that is up to date stays
    as it is. A new one is used once its templates are ready. What runs on the old one goes on; it is
    removed when nothing uses it.
    """
    from emberbox.cli.interrupts import run_interruptible

    settings = ctx.obj.settings()
    catalog = context.catalog(settings)
    runtimes = [catalog.get(name) for name in names] if names else list(catalog)
    return run_interruptible(lambda: _update(settings, runtimes, check=check, json=json))


async def _update(settings: Settings, runtimes: Sequence[Runtime], *, check: bool, json: bool) -> int:
    from emberbox.cli.progress import ShownProgress
    from emberbox.images.updates import look_for_updates

    images = context.image_store(settings)
    with ShownProgress("package lists") as progress:
        found = await look_for_updates(images, runtimes, progress)
    failed: dict[str, EmberboxError] = {}
    if not check:
        found = await _renew_all(settings, images, found, failed)
    if json:
        print_json([_describe(update, failed.get(update.runtime.name)) for update in found])
    else:
        _tell(found, failed)
    if failed:
        return exit_codes.FAILURE
    return exit_codes.FINDINGS if check and any(update.changes for update in found) else exit_codes.OK


async def _renew_all(
    settings: Settings, images: ImageStore, found: Sequence[ImageUpdate], failed: dict[str, EmberboxError]
) -> list[ImageUpdate]:
    """Renew the images that are not up to date; one that fails stays, and stops no other."""
    from emberbox.sandbox.templates.stored import remove_superseded

    renewed = []
    async with AsyncExitStack() as stack:
        templates = _Templates(settings, stack)
        for update in found:
            try:
                renewed.append(await _renew(images, update, templates) if update.changes else update)
            except EmberboxError as error:
                failed[update.runtime.name] = error
                renewed.append(update)
    remove_superseded(images, settings.data)
    return renewed


async def _renew(images: ImageStore, update: ImageUpdate, templates: _Templates) -> ImageUpdate:
    from emberbox.cli.progress import ShownProgress
    from emberbox.images.updates import renew

    with ShownProgress(update.runtime.name) as progress:
        return await renew(images, update, partial(templates.prepare, update, progress), progress)


class _Templates:
    """Makes the templates of new images, on an engine that is started where there are any to make."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._engine: Engine | None = None

    async def prepare(self, update: ImageUpdate, progress: Progress, image: Image) -> None:
        """Make the templates that the image needs which it takes the place of."""
        from emberbox.sandbox.machines.plan import MachineSize
        from emberbox.sandbox.templates.stored import stored_templates

        sizes = {
            MachineSize(vcpus=record.vcpus, memory_mib=record.memory_mib)
            for record in stored_templates(self._settings.data / "templates")
            if record.image == update.before.image.key
        }
        if not sizes:
            return
        progress.step("template", None)
        if self._engine is None:
            self._engine = await self._stack.enter_async_context(context.make_engine(self._settings))
        await self._engine.prepare(self._engine.runtimes.get(update.runtime.name), image, sizes)


def _describe(update: ImageUpdate, error: EmberboxError | None) -> dict[str, Any]:
    return {
        "runtime": update.runtime.name,
        "key": update.before.image.key,
        "new_key": update.image.key if update.image is not None else None,
        "changes": [asdict(change) for change in update.changes],
        "error": {"code": error.code, "message": error.message} if error is not None else None,
    }


def _tell(found: Sequence[ImageUpdate], failed: dict[str, EmberboxError]) -> None:
    if not found:
        say("there are no images yet; build them: emberbox setup")
    for update in found:
        name = update.runtime.name
        if name in failed:
            say(f"{name}: not renewed, the old image stays: {failed[name].message}")
        write_out("".join(f"{line}\n" for line in _lines(update)))


def _lines(update: ImageUpdate) -> list[str]:
    name, key = update.runtime.name, update.before.image.key[:12]
    if not update.changes and update.image is None:
        return [f"{name}: up to date"]
    if update.image is None:
        head = f"{name}: {len(update.changes)} packages are newer"
    else:
        head = f"{name}: {key} → {update.image.key[:12]}, {len(update.changes)} packages changed"
    first = sorted(update.changes, key=lambda change: not change.security)[:_SHOWN]
    more = len(update.changes) - len(first)
    return [
        head,
        *(
            f"  {change.package} {change.old or '-'} → {change.new or '-'}{' (security)' * change.security}"
            for change in first
        ),
        *([f"  and {more} more; --json names all"] if more else []),
    ]

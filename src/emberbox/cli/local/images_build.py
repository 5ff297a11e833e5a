"""`emberbox images build`: images of runtimes by name, or of any folder with a manifest."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli import context
from emberbox.cli.commands import argument, option
from emberbox.cli.context import runtime_names
from emberbox.cli.failures import say
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from emberbox.config import Settings


def build(
    ctx: typer.Context,
    names: Annotated[
        list[str],
        argument("RUNTIME...", "Runtimes, or folders with a runtime.toml.", autocompletion=runtime_names),
    ],
    force: Annotated[bool, option("--force", "Build anew, with the newest packages.")] = False,
) -> None:
    """Build the images of runtimes; what is built already is kept.

    Of a folder the template is made too, so that it is ready to run.
    """
    from emberbox.cli.interrupts import run_interruptible

    settings = ctx.obj.settings()
    folders = [Path(name) for name in names if is_folder(name)]
    known = [name for name in names if not is_folder(name)]
    for folder in folders:
        check_folder(folder)

    async def work() -> None:
        await _build_named(settings, known, force)
        for folder in folders:
            await _build_folder(settings, folder, force)

    run_interruptible(work)


def is_folder(name: str) -> bool:
    """Tell whether an argument is a path and no runtime's name."""
    return os.sep in name or name in {".", ".."}


def check_folder(folder: Path) -> None:
    """Check that a folder holds a runtime.

    Raises `InvalidInput` when it does not, `InvalidManifest` for a mistake in its manifest.
    """
    from emberbox.runtimes import MANIFEST_NAME, load

    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {str(folder)!r}")
    manifest = folder.resolve() / MANIFEST_NAME
    if not manifest.is_file():
        raise InvalidInput(
            f"there is no {MANIFEST_NAME} in {str(folder)!r}; docs/runtimes.md tells what goes into one"
        )
    load(manifest)


async def _build_named(settings: Settings, names: list[str], force: bool) -> None:
    from emberbox.cli.progress import ShownProgress

    catalog, store = context.catalog(settings), context.image_store(settings)
    for runtime in [catalog.get(name) for name in names]:
        with ShownProgress(runtime.name) as progress:
            await store.build(runtime, progress, force)


async def _build_folder(settings: Settings, folder: Path, force: bool) -> None:
    from emberbox.cli.progress import ShownProgress
    from emberbox.languages.folders import with_folder
    from emberbox.runtimes import builtin_folder

    with with_folder(settings, folder) as (found, (name,)), ShownProgress(name) as progress:
        async with context.make_engine(found) as engine:
            await engine.images.build(engine.runtimes.get(name), progress, force)
            await engine.template(name, progress=progress)
    parent = folder.resolve().parent
    if parent not in {known.resolve() for known in (*settings.runtimes, builtin_folder())}:
        say(f"{name} is built; to run it by its name: export EMBERBOX_RUNTIMES={parent}")

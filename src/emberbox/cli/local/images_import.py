"""`emberbox images import` and `remove`: images of the user's own as runtimes."""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import shutil
from pathlib import Path  # noqa: TC003  typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.bounds import MEMORY_MIB
from emberbox.cli import context
from emberbox.cli.commands import argument, option
from emberbox.cli.context import runtime_names
from emberbox.cli.failures import say
from emberbox.cli.tables import megabytes
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.config import Settings
    from emberbox.images import Image, ImageStore, Progress
    from emberbox.images.oci import ImportedRoot, ImportOptions, Reference, RuntimeText
    from emberbox.runtimes import Runtime, RuntimeCatalog

_SCRIPT = "{script}"
_REFERENCE = argument("REFERENCE", "oci:DIR[:TAG], docker-archive:FILE or docker://REGISTRY/NAME:TAG.")


def import_(
    ctx: typer.Context,
    reference: Annotated[str, _REFERENCE],
    name: Annotated[
        str | None, option("--name", "The runtime's name; else made from REFERENCE.", "NAME")
    ] = None,
    run: Annotated[
        str | None,
        option(
            "--run", "Run scripts by this, such as 'python3 {script}'; else the image's program.", "COMMAND"
        ),
    ] = None,
    user: Annotated[
        str | None, option("--user", "Whom it runs as; else whom the image names.", "USER[:GROUP]")
    ] = None,
    cwd: Annotated[str | None, option("--cwd", "Folder in the guest that runs start in.", "FOLDER")] = None,
    memory: Annotated[
        int, option("--memory", "The guest's memory.", "MIB", min=MEMORY_MIB.least, max=MEMORY_MIB.most)
    ] = 256,
    runtime_folder: Annotated[
        Path | None,
        option("--runtime-folder", "Where the runtime's folder goes; else the data folder.", "PATH"),
    ] = None,
    auth_file: Annotated[
        Path | None, option("--auth-file", "Credentials, as skopeo login --authfile writes them.", "FILE")
    ] = None,
    insecure: Annotated[bool, option("--insecure", "Allow plain HTTP and unknown certificates.")] = False,
) -> None:
    """Make a runtime of a container image, without a Docker engine.

    Left out --run, its own program runs: emberbox run -r NAME -- ARGUMENTS.
    """
    from emberbox.cli.interrupts import run_interruptible
    from emberbox.cli.progress import ShownProgress
    from emberbox.images.oci import Access, ImportOptions, Reference, RuntimeText

    settings = ctx.obj.settings()
    parsed = Reference.parse(reference)
    chosen = name or parsed.suggested_name()
    parent = _parent(settings, chosen, runtime_folder)
    store = context.image_store(settings)
    access = Access(insecure=insecure, auth_file=auth_file)
    options = ImportOptions(architecture=store.architecture, access=access, user=user or None)
    text = RuntimeText(name=chosen, tag=parsed.tag, run=_command(run), cwd=_folder(cwd), memory_mib=memory)

    async def work() -> tuple[ImportedRoot, Image]:
        with ShownProgress(chosen) as progress:
            return await import_runtime(store, parsed, options, text, parent, progress)

    root, image = run_interruptible(work)
    _tell(root, image)
    if runtime_folder is not None and parent not in {known.absolute() for known in settings.runtimes}:
        folders = ":".join(str(folder) for folder in (*settings.runtimes, parent))
        say(f"to use it: export EMBERBOX_RUNTIMES={shlex.quote(folders)}")


async def import_runtime(
    store: ImageStore,
    reference: Reference,
    options: ImportOptions,
    text: RuntimeText,
    parent: Path,
    progress: Progress,
) -> tuple[ImportedRoot, Image]:
    """Import an image, and put its runtime's folder below `parent` once all of it is there.

    Raises:
        ImageImportFailed, ImageBuildFailed, RequirementMissing, NoSpace: With the runtime
            as it was before.
    """
    from emberbox.images.oci import import_root, runtime_text
    from emberbox.runtimes import MANIFEST_NAME, load

    async with store.building(progress) as builder:
        async with builder.layout.build_folder() as scratch:
            root = await import_root(builder, reference, options, scratch, progress)
        with _aside(parent) as aside:
            manifest = aside / text.name / MANIFEST_NAME
            manifest.parent.mkdir()
            manifest.write_text(runtime_text(root, text), encoding="utf-8")
            image = await store.build(load(manifest), progress)
            _put_in_place(manifest.parent, parent / text.name, aside / "old")
    return root, image


def remove(
    ctx: typer.Context,
    names: Annotated[list[str], argument("NAME...", "Runtimes.", autocompletion=runtime_names)],
) -> None:
    """Remove the images of runtimes; of imported ones the runtime as well."""
    from emberbox.errors import UnknownRuntime

    settings = ctx.obj.settings()
    store, catalog = context.image_store(settings), context.catalog(settings)
    stored = {entry.image.runtime for entry in store.list()}
    for name in names:
        runtime = next((known for known in catalog if name.lower() in known.names), None)
        if runtime is None and name not in stored:
            raise UnknownRuntime(f"there is neither a runtime nor an image {name!r}")
        report = store.remove(name if runtime is None else runtime.name)
        if runtime is not None and runtime.image.imported is not None:
            shutil.rmtree(runtime.folder)
        typer.echo(f"removed {name}: {len(report.images)} images, {megabytes(report.bytes_freed)}")


def _parent(settings: Settings, name: str, folder: Path | None) -> Path:
    """Return the folder that the runtime's own goes into; raises `InvalidInput` for an unfit name."""
    from emberbox.runtimes import imported_folder
    from emberbox.runtimes.fields import NAME_ALLOWED, NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidInput(f"{name!r} cannot be a runtime's name; give --name {NAME_ALLOWED}")
    parent = (imported_folder(settings.data) if folder is None else folder).absolute()
    _check_free(context.catalog(settings), name, parent)
    return parent


def _check_free(catalog: RuntimeCatalog, name: str, parent: Path) -> None:
    """Refuse a name that is another runtime's; an imported one of the same name is replaced."""
    other: Runtime | None = next((runtime for runtime in catalog if name in runtime.names), None)
    if other is not None and (other.image.imported is None or other.name != name):
        whose = f"an alias of {other.name}" if other.name != name else f"there already, in {other.folder}"
        raise InvalidInput(f"the runtime {name!r} is {whose}; give another name with --name")
    target = parent / name
    if target.exists() and (other is None or other.folder != target):
        raise InvalidInput(
            f"{target} is there already, and no imported runtime that is known; "
            "remove it, or give another --name"
        )


@contextlib.contextmanager
def _aside(parent: Path) -> Iterator[Path]:
    """Lend a folder beside the runtimes that none is looked for in."""
    from emberbox.files.locks import is_locked, take_lock

    if not parent.is_dir():
        parent.mkdir(parents=True)
    for left in parent.glob(".importing-*"):
        if not is_locked(left):
            shutil.rmtree(left, ignore_errors=True)
    aside = parent / f".importing-{secrets.token_hex(4)}"
    aside.mkdir()
    with take_lock(aside, what="clearing up after imports", make=False):
        try:
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _put_in_place(made: Path, target: Path, old: Path) -> None:
    if target.exists():
        target.rename(old)
    made.rename(target)


def _command(run: str | None) -> tuple[str, ...] | None:
    if run is None:
        return None
    try:
        argv = tuple(shlex.split(run))
    except ValueError as error:
        raise InvalidInput(f"--run {run!r}: {error}") from error
    if sum(part.count(_SCRIPT) for part in argv) != 1 or _SCRIPT in argv[0]:
        raise InvalidInput(
            f"--run {run!r}: name a program, and behind it {_SCRIPT} once, where the script's path goes"
        )
    return argv


def _folder(cwd: str | None) -> str | None:
    if cwd is not None and not cwd.startswith("/"):
        raise InvalidInput(f"--cwd {cwd!r}: give an absolute path in the guest")
    return cwd


def _tell(root: ImportedRoot, image: Image) -> None:
    state = "was here already" if root.known else f"{megabytes(image.sizes['rootfs'])}"
    typer.echo(f"{image.runtime}: {root.source} {root.digest[:19]}, {state}")
    if root.dropped:
        say(f"{root.dropped} devices, pipes and sockets of the image were left out")

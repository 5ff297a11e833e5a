"""`emberbox setup --kernel`: guests get a kernel of one's own, or Debian's again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.cli.context import image_store
from emberbox.cli.failures import say
from emberbox.errors import ImageImportFailed, InvalidInput

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.images import ImageStore
    from emberbox.images.records import PartRecord

_DEBIAN = "debian"


def check_kernel(kernel: str | None, modules: Path | None, settings: Settings, *, vmm: str | None) -> None:
    """Raise `InvalidInput` for what does not go together.

    Args:
        kernel: Which kernel guests are to get: a file, or `debian`; None to leave it as it is.
        modules: The folder of its modules; None for none.
        settings: May name a kernel themselves.
        vmm: The VMM that is to be installed; None for none.
    """
    if kernel is None or kernel == _DEBIAN:
        if modules is not None:
            raise InvalidInput("--modules goes with --kernel FILE")
    elif not Path(kernel).is_file():
        raise InvalidInput(f"--kernel takes a file, vmlinux or bzImage, or debian; there is no file {kernel}")
    if kernel is not None and vmm is not None:
        raise InvalidInput("--kernel and --vmm do not go together: run one after the other")
    if kernel is not None and settings.images.kernel:
        raise InvalidInput(
            f"images.kernel is set to {settings.images.kernel}, which wins over --kernel; take it away first"
        )


async def choose_kernel(settings: Settings, kernel: str | None, modules: Path | None) -> None:
    """Take a kernel into the store and have images get it, if the driver that is used can run it.

    Arguments as for `check_kernel`.

    Raises:
        ImageImportFailed: It is no kernel for guests, or not for the driver; images keep the kernel
            that they had.
    """
    store = image_store(settings)
    if kernel == _DEBIAN:
        store.take_kernel(None)
        say("images get Debian's kernel")
    elif kernel is not None:
        store.take_kernel(await _import(store, settings, Path(kernel), modules))


async def _import(store: ImageStore, settings: Settings, file: Path, modules: Path | None) -> PartRecord:
    from emberbox.cli.progress import ShownProgress
    from emberbox.sandbox.kernels import kernel_of
    from emberbox.vmm.registry import choose_driver, title

    with ShownProgress("kernel") as progress:
        progress.step("looking into it", None)
        part = await store.import_kernel(file, modules, progress)
        kernel = kernel_of(part)
        driver, report = await choose_driver(settings.vmm, settings.data, kernel)
    if not report.usable:
        raise ImageImportFailed(f"{kernel.name} cannot be used here: {report.reason}")
    say(f"{kernel.name}: {', '.join(_told(part))}. It is {part.objects['kernel'].digest[:12]} in the store")
    for name, lacks in kernel.lacks.items():
        if lacks and name != driver.name:
            say(f"{title(name)} could not use it: it lacks {', '.join(lacks)}")
    return part


def _told(part: PartRecord) -> list[str]:
    configured = (
        "with its configuration"
        if part.about.get("configured")
        else "without a configuration, so judged by its content"
    )
    return [configured, "with PVM's guest part" if part.about.get("pvm") else "without PVM's guest part"]

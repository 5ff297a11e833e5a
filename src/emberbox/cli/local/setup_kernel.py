"""`emberbox setup --kernel`: guests get a kernel of one's own, or Debian's again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.cli.failures import say
from emberbox.errors import ImageImportFailed, InvalidInput

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.images.records import PartRecord

_DEBIAN = "debian"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelWish:
    """Which kernel guests are to get, as it was typed.

    Args:
        kernel: A file, or `debian`; None to leave it as it is.
        modules: The folder of its modules; None for none.
    """

    kernel: str | None
    modules: Path | None

    def check(self, settings: Settings, *, vmm: str | None) -> None:
        """Raise `InvalidInput` for what does not go together."""
        if self.kernel is None or self.kernel == _DEBIAN:
            if self.modules is not None:
                raise InvalidInput("--modules goes with --kernel FILE")
        elif not Path(self.kernel).is_file():
            raise InvalidInput(
                f"--kernel takes a file, vmlinux or bzImage, or debian; there is no file {self.kernel}"
            )
        if self.kernel is not None and vmm is not None:
            raise InvalidInput("--kernel and --vmm do not go together: run one after the other")
        if self.kernel is not None and settings.images.kernel:
            raise InvalidInput(
                f"images.kernel is set to {settings.images.kernel}, which wins over --kernel; "
                "take it away first"
            )


async def choose_kernel(settings: Settings, wish: KernelWish) -> None:
    """Take the wished kernel into the store and have images get it, if the driver that is used can run it.

    Raises:
        ImageImportFailed: It is no kernel for guests, or not for the driver; images keep the kernel
            that they had.
    """
    from emberbox.cli.context import image_store

    store = image_store(settings)
    if wish.kernel == _DEBIAN:
        store.take_kernel(None)
        say("images get Debian's kernel")
    elif wish.kernel is not None:
        part = await _import(settings, Path(wish.kernel), wish.modules)
        store.take_kernel(part)


async def _import(settings: Settings, file: Path, modules: Path | None) -> PartRecord:
    from emberbox.cli.context import image_store
    from emberbox.cli.progress import ShownProgress
    from emberbox.sandbox.kernels import kernel_of
    from emberbox.vmm.registry import choose_driver, title

    store = image_store(settings)
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

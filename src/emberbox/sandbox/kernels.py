"""The images' kernel, as the store and the drivers each need to know it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.images import ImageStore
from emberbox.vmm.guest_kernel import GuestKernel

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.images.records import PartRecord

_DEBIAN = "debian"


def image_store(settings: Settings) -> ImageStore:
    """Return the store of images in the data folder, which builds with the kernel that the settings name."""
    kernel, modules = settings.images.kernel, settings.images.modules
    named = None if not kernel else kernel if kernel == _DEBIAN else Path(kernel)
    return ImageStore(settings.data / "images", kernel=named, modules=Path(modules) if modules else None)


def guest_kernel(images: ImageStore) -> GuestKernel:
    """Return what drivers must know of the kernel that images get.

    It is Debian's where a setting's was not looked into yet.
    """
    part = images.own_kernel
    return GuestKernel(name="Debian's kernel") if part is None else kernel_of(part)


def kernel_of(part: PartRecord) -> GuestKernel:
    """Return what drivers must know of an imported kernel."""
    lacks = part.about.get("lacks", {})
    return GuestKernel(
        name=str(part.about.get("name", "the kernel of your own")),
        pvm=bool(part.about.get("pvm")),
        lacks={driver: tuple(texts) for driver, texts in lacks.items()},
    )

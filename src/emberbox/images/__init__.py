"""Images: the kernel, initramfs and root filesystem of each runtime, built once and kept content-addressed."""

from emberbox.images.progress import Progress, SilentProgress
from emberbox.images.requirements import REQUIREMENTS, Requirement, missing_requirements
from emberbox.images.store import Image, ImageStore, PruneReport, StoredImage

__all__ = [
    "REQUIREMENTS",
    "Image",
    "ImageStore",
    "Progress",
    "PruneReport",
    "Requirement",
    "SilentProgress",
    "StoredImage",
    "missing_requirements",
]

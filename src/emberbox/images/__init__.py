"""The kernel, initramfs and root filesystem of each runtime, built once and content-addressed."""

from emberbox.images.image import Image, StoredImage
from emberbox.images.progress import Progress, SilentProgress
from emberbox.images.pruning import PruneReport
from emberbox.images.store import ImageStore
from emberbox.images.tools.requirements import (
    REQUIREMENTS,
    BuildNeeds,
    Requirement,
    build_needs,
    missing_requirements,
)

__all__ = [
    "REQUIREMENTS",
    "BuildNeeds",
    "Image",
    "ImageStore",
    "Progress",
    "PruneReport",
    "Requirement",
    "SilentProgress",
    "StoredImage",
    "build_needs",
    "missing_requirements",
]

"""The templates on disk, seen without an engine: listed, and removed when nothing uses them any more.

What is kept of a template beside its files is in its `template.json`.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from emberbox.errors import DataFolderBusy
from emberbox.files.locks import try_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from emberbox.images import ImageStore

_log = logging.getLogger(__name__)

_NAME = "template.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRecord:
    """What is kept beside a template's files.

    Args:
        key: The folder's name.
        runtime: The runtime's name.
        image: The image's key.
        vcpus, memory_mib: The size that its clones have.
        driver, vmm_version, accelerator: What it was made with and can be restored with.
        waiting: Whether an interpreter waits in it.
        built_at: Unix time in seconds.
        build_s: How long it took.
        stored_bytes: What it takes on disk.
        layers: Digests of the layers over its image.
    """

    key: str
    runtime: str
    image: str
    vcpus: int
    memory_mib: int
    driver: str
    vmm_version: str
    accelerator: str
    waiting: bool
    built_at: float
    build_s: float
    stored_bytes: int
    layers: tuple[str, ...] = ()


def read_record(folder: Path) -> TemplateRecord | None:
    """Return the record of the template in `folder`.

    None where there is none, or none that can be read and is of this folder.
    """
    try:
        record = TemplateRecord(**json.loads((folder / _NAME).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.warning(
            "template %s cannot be read: %s", folder.name, error, extra={"action": "template.corrupt"}
        )
        return None
    return record if record.key == folder.name else None


def write_record(folder: Path, record: TemplateRecord) -> None:
    """Write the record of the template in `folder`."""
    (folder / _NAME).write_text(json.dumps(asdict(record), indent=1))


def stored_templates(root: Path) -> list[TemplateRecord]:
    """Return the templates below `root` (`<data>/templates`), newest first.

    Those that cannot be read are left out.
    """
    records = [record for file in root.glob(f"*/{_NAME}") if (record := read_record(file.parent)) is not None]
    return sorted(records, key=lambda record: -record.built_at)


def prune_templates(
    root: Path, *, keep_images: Collection[str], dry_run: bool = False
) -> list[TemplateRecord]:
    """Remove the templates of images other than those, and return what was removed, or would be.

    A template that is being built just now stays. Machines cloned from a removed one go on: they
    hold its files open.

    Args:
        root: `<data>/templates`.
        keep_images: Keys of images whose templates stay.
        dry_run: True removes nothing.
    """
    return remove_templates(root, lambda record: record.image not in keep_images, dry_run=dry_run)


def remove_templates(
    root: Path, doomed: Callable[[TemplateRecord], bool], *, dry_run: bool = False
) -> list[TemplateRecord]:
    """Remove the templates of which `doomed` says so; arguments and the rest as for `prune_templates`."""
    records = [record for record in stored_templates(root) if doomed(record)]
    return records if dry_run else [record for record in records if _remove(root, record.key)]


def remove_superseded(images: ImageStore, data: Path) -> int:
    """Remove the images that newer ones took the place of and nobody uses, with their templates.

    Blocks for a moment. Where an image is being built just now, nothing is removed: the next call does it.

    Args:
        images: The store.
        data: The data folder.

    Returns:
        How many images were removed.
    """
    try:
        removed = images.remove_superseded().images
    except DataFolderBusy as error:
        _log.info("old images stay: %s", error, extra={"action": "images.busy"})
        return 0
    if removed:
        remove_templates(data / "templates", lambda record: record.image in removed)
    return len(removed)


def _remove(root: Path, key: str) -> bool:
    lock = try_lock(root / f"{key}.lock")
    if lock is None:
        return False
    with lock:
        try:
            shutil.rmtree(root / key)
        except FileNotFoundError:
            return False
    return True

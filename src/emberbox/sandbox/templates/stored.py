"""The templates on disk, seen without an engine: listed, and removed when nothing uses them any more.

What is kept of a template beside its files is in its `template.json`, whose time is that of its last
use. An engine that has a template open holds a shared lock on `<key>.use` beside its folder.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from emberbox.errors import DataFolderBusy
from emberbox.files.locks import is_locked, try_lock
from emberbox.model import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from emberbox.images import ImageStore

_log = logging.getLogger(__name__)

SHARE = 2
"""What a scope had made beyond one of so many parts of the room goes first, in memory and on disk."""
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
        scope: Who had it made, and is charged with it, such as a team's id; None for this data
            folder's owner.
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
    scope: str | None = None


def lease_file(root: Path, key: str) -> Path:
    """Return the file that is locked, shared, by whoever has the template open."""
    return root / f"{key}.use"


def mark_used(root: Path, key: str) -> None:
    """Note that a template was used now."""
    with contextlib.suppress(OSError):
        os.utime(root / key / _NAME)


def used_at(root: Path, key: str) -> float:
    """Return when a template was used last, as Unix time in seconds; 0 where it is gone."""
    try:
        return (root / key / _NAME).stat().st_mtime
    except OSError:
        return 0.0


def in_use(root: Path, key: str) -> bool:
    """Tell whether an engine has a template open."""
    return is_locked(lease_file(root, key))


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

    A template that is being built, or that an engine has open, stays.

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
    if dry_run:
        return [record for record in records if not in_use(root, record.key)]
    return [record for record in records if _remove(root, record.key)]


def trim_templates(
    root: Path, room_mib: int, *, without: Collection[str] = (), dry_run: bool = False
) -> list[TemplateRecord]:
    """Remove templates until the rest fits, and return them: those that were not used for longest.

    Those of a scope that has more than its share (`SHARE`) go first. What is being built, or open,
    stays, even beyond the room. Blocks.

    Args:
        root: `<data>/templates`.
        room_mib: Room for all of them; 0 for no bound.
        without: Keys of templates that count as removed already.
        dry_run: True removes nothing.
    """
    stored = [record for record in stored_templates(root) if record.key not in without]
    by_use = sorted(stored, key=lambda record: used_at(root, record.key))
    room, total = room_mib * MIB, sum(record.stored_bytes for record in by_use)
    charged: Counter[str | None] = Counter()
    for record in by_use:
        charged[record.scope] += record.stored_bytes
    removed: list[TemplateRecord] = []
    for beyond_share in (True, False):
        for record in by_use:
            if not room or total <= room:
                return removed
            beyond = record.scope is not None and charged[record.scope] > room // SHARE
            if record in removed or (beyond_share and not beyond):
                continue
            if _remove(root, record.key) if not dry_run else not in_use(root, record.key):
                removed.append(record)
                total -= record.stored_bytes
                charged[record.scope] -= record.stored_bytes
    return removed


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
    """Remove a template, and its locks; False where it is being built, is open, or is gone."""
    with contextlib.ExitStack() as held:
        locked = [root / f"{key}.lock", lease_file(root, key)]
        for file in locked:
            lock = try_lock(file)
            if lock is None:
                return False
            held.enter_context(lock)
        try:
            shutil.rmtree(root / key)
        except FileNotFoundError:
            return False
        for file in locked:
            file.unlink(missing_ok=True)
    _log.info("removed template %s", key, extra={"action": "template.removed", "template": key})
    return True

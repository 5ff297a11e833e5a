"""The templates on disk, seen without an engine: listed, and removed when nothing uses them any more."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from emberbox.files.locks import try_lock
from emberbox.sandbox.templates.record import read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from emberbox.sandbox.templates.record import TemplateRecord


def stored_templates(root: Path) -> list[TemplateRecord]:
    """Return the templates below `root` (`<data>/templates`), newest first.

    Those that cannot be read are left out.
    """
    records = [
        record for file in root.glob("*/template.json") if (record := read_record(file.parent)) is not None
    ]
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
    doomed = [record for record in stored_templates(root) if record.image not in keep_images]
    return doomed if dry_run else [record for record in doomed if _remove(root, record.key)]


def remove_templates(root: Path, doomed: Callable[[TemplateRecord], bool]) -> None:
    """Remove the templates below `root` of which `doomed` says so; one that is being built just now stays."""
    for record in stored_templates(root):
        if doomed(record):
            _remove(root, record.key)


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

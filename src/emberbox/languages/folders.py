"""Folders of runtimes that are named on the command line."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput
from emberbox.runtimes import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.config import Settings


@contextlib.contextmanager
def with_folder(settings: Settings, folder: Path) -> Iterator[tuple[Settings, tuple[str, ...]]]:
    """Yield settings in which the runtimes of a folder are known, and these runtimes' names.

    Args:
        settings: Without them.
        folder: A runtime's own folder, or one that holds several.

    Raises:
        InvalidInput: There is no manifest in it, nor right below it.
    """
    folder = folder.resolve()
    if (folder / MANIFEST_NAME).is_file():
        # What lies beside it is nobody's business here: it is linked into a folder of its own.
        with tempfile.TemporaryDirectory(prefix="emberbox-runtimes-") as alone:
            (Path(alone) / folder.name).symlink_to(folder)
            yield replace(settings, runtimes=(*settings.runtimes, Path(alone))), (folder.name,)
        return
    names = tuple(sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST_NAME}")))
    if not names:
        raise InvalidInput(f"there is no {MANIFEST_NAME} in {folder}, nor in a folder in it")
    yield replace(settings, runtimes=(*settings.runtimes, folder)), names

"""Files that a run brings into its sandbox: small ones inside its request, large ones ahead of it."""

from __future__ import annotations

import asyncio
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput
from emberbox.guest import InlineFile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.sandbox.sources import TrackedFiles

INLINE_BYTES = 65_536
"""Files up to this size travel inside the request that runs them; larger ones are streamed ahead of it."""


async def stage_files(
    sandbox: TrackedFiles, files: Mapping[str, str | bytes | Path]
) -> tuple[InlineFile, ...]:
    """Write the large files, and return the small ones for the request.

    Args:
        sandbox: Where they go.
        files: Path in the work folder → content, or a path on the host.

    Raises:
        InvalidInput: A path cannot name a file in the work folder, or the host's file cannot be read.
    """
    staged = [await _stage(sandbox, path, content) for path, content in files.items()]
    return tuple(file for file in staged if file is not None)


async def _stage(sandbox: TrackedFiles, path: str, content: str | bytes | Path) -> InlineFile | None:
    check_inside(path)
    if isinstance(content, Path):
        content = await asyncio.to_thread(_read_host_file, content)
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    if len(data) > INLINE_BYTES:
        await sandbox.write_file(path, data)
        return None
    sandbox.sources.note_file(path, data)
    return InlineFile(path, data)


def check_inside(path: str) -> None:
    """Raise `InvalidInput` for a path that a staged file cannot have."""
    pure = PurePosixPath(path)
    if not path or "\0" in path or ".." in pure.parts:
        raise InvalidInput(
            f"{path!r} cannot name a file in the work folder: it must not be empty, hold NUL or '..'"
        )


def _read_host_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {path}: {error.strerror}") from error

"""Makes a read-only ext4 file system from a folder, without mounting and without rights."""

from __future__ import annotations

import asyncio
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed, NoSpace
from emberbox.images.tools.process import run_tool
from emberbox.images.tools.requirements import find_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BLOCK = 4096
_INODE_BYTES = 256
_FEATURES = "none,dir_index,ext_attr,extent,filetype,flex_bg,large_file,sparse_super"
"""No journal (never written) and no checksums (the store has its own, and they cost an emulated
guest time)."""
_UUID = "656d6265-7262-4f78-8000-726f6f746673"
_TIMELESS = {"E2FSPROGS_FAKE_TIME": "1"}
"""The file system's own times: the same content gives the same file."""
_MAKE_S = 300.0
_ATTEMPTS = 6
_SCRIPT_NAME_BYTES = 7680
"""debugfs reads lines of 8,192 bytes."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Numbers of a file's user and group in the guest."""

    uid: int
    gid: int


async def make_ext4(folder: Path, image: Path, owners: Mapping[str, Owner]) -> None:
    """Write the file system `image` with what is in `folder`.

    Args:
        folder: Its modes, links and modification times are kept; whose its files are here does not matter.
        image: Must not exist.
        owners: Owner by path relative to `folder`; whatever is not named belongs to root.

    Raises:
        ImageBuildFailed: A tool failed; `image` is removed.
        NoSpace: The host's disk is full; `image` is removed.
    """
    try:
        await _make(folder, image)
        script = image.with_name(f"{image.name}.owners")
        await asyncio.to_thread(_write_script, script, folder, owners)
        await run_tool(
            [find_program("debugfs"), "-w", "-f", str(script), str(image)],
            what="set owners in the root filesystem",
            timeout_s=_MAKE_S,
            env={**_TIMELESS, "DEBUGFS_PAGER": "cat"},
        )
        script.unlink()
    except BaseException:
        image.unlink(missing_ok=True)
        raise


async def _make(folder: Path, image: Path) -> None:
    blocks, inodes = await asyncio.to_thread(estimate, folder)
    for _ in range(_ATTEMPTS):
        try:
            await run_tool(
                [
                    find_program("mke2fs"),
                    *("-q", "-F", "-t", "ext4", "-O", _FEATURES, "-b", str(BLOCK)),
                    *("-I", str(_INODE_BYTES), "-N", str(inodes)),
                    *("-m", "0", "-U", _UUID, "-L", "emberbox", "-d", str(folder)),
                    *("-E", f"lazy_itable_init=0,root_owner=0:0,hash_seed={_UUID}", str(image), str(blocks)),
                ],
                what="make the root filesystem",
                timeout_s=_MAKE_S,
                env=_TIMELESS,
            )
            return
        except ImageBuildFailed as error:
            image.unlink(missing_ok=True)
            if "Could not allocate" not in (error.detail or ""):
                raise
            # What directories and extent trees take cannot be told beforehand to the block.
            blocks += blocks // 20
    raise NoSpace(f"the root filesystem did not fit {blocks * BLOCK // 1024**2} MiB", detail=str(folder))


def estimate(folder: Path) -> tuple[int, int]:
    """Return how many blocks and inodes a file system with the content of `folder` needs."""
    blocks, inodes = 64, 32
    seen: set[tuple[int, int]] = set()
    for path in _paths(folder):
        information = path.lstat()
        identity = (information.st_dev, information.st_ino)
        if information.st_nlink > 1 and not stat.S_ISDIR(information.st_mode):
            if identity in seen:
                continue
            seen.add(identity)
        inodes += 1
        blocks += _content_blocks(path, information)
    table = (inodes * _INODE_BYTES + BLOCK - 1) // BLOCK
    blocks += table
    return blocks + blocks // 128, inodes


def _content_blocks(path: Path, information: os.stat_result) -> int:
    if stat.S_ISDIR(information.st_mode):
        # Names take 8 bytes and their length; three quarters of a block are usually filled.
        taken = sum(12 + len(os.fsencode(entry.name)) for entry in path.iterdir())
        return 1 + taken * 4 // (3 * BLOCK)
    if stat.S_ISREG(information.st_mode):
        return (information.st_size + BLOCK - 1) // BLOCK
    return 1 if information.st_size > 59 else 0


def _paths(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            yield Path(root) / name


def _write_script(script: Path, folder: Path, owners: Mapping[str, Owner]) -> None:
    with script.open("w", encoding="utf-8", errors="surrogateescape") as stream:
        for path in _paths(folder):
            relative = path.relative_to(folder).as_posix()
            owner = owners.get(relative, Owner(0, 0))
            quoted = '"/' + relative.replace('"', '""') + '"'
            if len(os.fsencode(quoted)) > _SCRIPT_NAME_BYTES or any(
                ord(character) < 32 for character in relative
            ):
                # It would end the line of the script, and what follows would be taken for a command.
                raise ImageBuildFailed(
                    f"the root filesystem holds a name that cannot be stored: {relative[:200]!r}"
                )
            stream.write(f"sif {quoted} uid {owner.uid}\nsif {quoted} gid {owner.gid}\n")
            stream.write(f"sif {quoted} ctime @0\nsif {quoted} atime @0\nsif {quoted} crtime @0\n")

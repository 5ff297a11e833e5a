"""Tries what building an image takes.

That is the right to make files of several users, in a place that these users get to.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from pathlib import Path

from emberbox.doctor.finding import problem_of
from emberbox.errors import RequirementMissing
from emberbox.images.rootfs.build import bound_to_this_process
from emberbox.images.tools.requirements import find_program
from emberbox.images.tools.scratch import scratch_folder

_TRY_S = 20.0
_HELPER = ("--unshare-helper",)
"""Has mmdebstrap run a program as the root of a build: among users of its own, with mounts of its own."""
_AS_OTHERS = """cd "$1" && : > file && chown 1:1 file && mkdir mounted &&
mount -t tmpfs none mounted && umount mounted && rm -r file mounted"""
"""What the builder's root does all the time: a file of another user, and a mount."""


async def try_building(data: Path) -> str | None:
    """Return why this user cannot build images; None when what building takes was done.

    Leaves nothing; takes a second.

    Args:
        data: The data folder, or where it will be.
    """
    as_root = os.geteuid() == 0
    there = next(folder for folder in (data, *data.parents) if folder.exists())
    try:
        inner = [find_program("unshare"), "--mount"] if as_root else [find_program("mmdebstrap"), *_HELPER]
        with tempfile.TemporaryDirectory(prefix="trying-", dir=there) as folder:
            async with scratch_folder(Path(folder), as_root=as_root) as scratch:
                command = [*bound_to_this_process(), *inner, "/bin/sh", "-c", _AS_OTHERS, "sh", str(scratch)]
                return await asyncio.to_thread(_try, command)
    except RequirementMissing as error:
        return problem_of(error)[0]
    except (OSError, subprocess.SubprocessError) as error:
        return f"a build cannot be tried: {error}"


def _try(command: list[str]) -> str | None:
    done = subprocess.run(
        command,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        timeout=_TRY_S,
        check=False,
    )
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines()
    return (
        f"files of other users cannot be made: {said[-1][:200] if said else f'exit code {done.returncode}'}"
    )

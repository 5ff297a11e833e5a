"""Makes a control group with bounds, puts a process into it, and sees whether the bounds hold."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

from emberbox.vmm.process.cgroup import CgroupLimits, Cgroups

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.vmm.process.cgroup import Cgroup

_MEMORY_BYTES = 64 * 1024 * 1024
_PROCESS_S = 10.0
_REFUSED = 3
_FORKS = f"""
import os, sys
sys.stdin.read(1)
try:
    child = os.fork()
except BlockingIOError:
    sys.exit({_REFUSED})
if child:
    os.waitpid(child, 0)
"""
"""A program that forks once it is told to, and tells by its exit code whether that was refused."""


async def try_group(groups: Cgroups | None = None) -> str | None:
    """Return why VMMs cannot be bounded by control groups here; None when a process was. Leaves nothing.

    Args:
        groups: Where to make the group; None for where VMMs get theirs.
    """
    found = Cgroups() if groups is None else groups
    if not found.prepare():
        return found.reason
    limits = CgroupLimits(memory_bytes=_MEMORY_BYTES, pids=1, cpus=0.5)
    try:
        group = found.create(f"{secrets.token_hex(4)}-1", limits)
    except OSError as error:
        return f"a control group cannot be made: {error.strerror} ({error.filename})"
    try:
        return _unkept(group, dict(found.assignments(limits))) or await asyncio.to_thread(_try_process, group)
    except (OSError, subprocess.SubprocessError) as error:
        return f"a process cannot be put into a control group: {error}"
    finally:
        await group.remove()


def _unkept(group: Cgroup, wanted: Mapping[str, str]) -> str | None:
    for name, value in wanted.items():
        files = [folder / name for folder in group.folders if (folder / name).exists()]
        kept = files[0].read_text().strip() if files else "nothing"
        if kept != value:
            return f"the bound {name} is not kept: {value!r} was written, and it holds {kept!r}"
    return None


def _try_process(group: Cgroup) -> str | None:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _FORKS],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        group.add(process.pid)
        process.communicate(b"1", timeout=_PROCESS_S)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(_PROCESS_S)
    if process.returncode != _REFUSED:
        let_in = f"a second process was let in (code {process.returncode})"
        return f"a control group does not bound what is in it: {let_in}"
    return None

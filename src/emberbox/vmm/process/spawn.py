"""Starts a VMM under bubblewrap: held until its bounds are set, then watched, and ended whole."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from typing import TYPE_CHECKING

from emberbox.files.descriptors import opened
from emberbox.vmm.process.leftovers import end_marked
from emberbox.vmm.process.process import VmmProcess, reap
from emberbox.vmm.process.sockets import readable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from emberbox.tasks import UndoStack
    from emberbox.vmm.process.marks import Mark

SPAWN_S = 15.0
LOG_BYTES = 65_536
"""How much of a VMM's log is shown: its end."""
_ERRORS_KEPT = 4096


def error_log(run_dir: Path) -> Path:
    """Return where a VMM's standard error goes."""
    return run_dir / "vmm.log"


def open_errors(run_dir: Path) -> AbstractContextManager[int]:
    """Lend a descriptor that writes to `error_log`. Raises `OSError`."""
    return opened(error_log(run_dir), os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def last_errors(run_dir: Path) -> str:
    """Return the end of what the VMM printed, at most 4 KiB; empty when it printed nothing."""
    return read_end(error_log(run_dir), _ERRORS_KEPT).strip()


def read_end(path: Path, most_bytes: int) -> str:
    """Return the end of a file that a VMM or its guest wrote; what is not text is replaced.

    Empty when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - most_bytes))
            return file.read(most_bytes).decode("utf-8", "replace")
    except OSError:
        return ""


async def spawn_held(
    wrap: Callable[[int, int], list[str]],
    bound: Callable[[int], None],
    *,
    mark: Mark,
    machine_id: str,
    inherited: Sequence[int],
    output: int,
    errors: int | None = None,
    own_codes: Collection[int] = (),
    undo: UndoStack,
) -> VmmProcess:
    """Start a command under bubblewrap; it runs only once `bound` has set its limits.

    Args:
        wrap: Makes bubblewrap's arguments from the numbers of `--info-fd` and `--block-fd`.
        bound: Called with the host pid of bubblewrap's child before that goes on.
        mark: By which the VMM is known.
        machine_id: Whose processes are ended when the start is given up.
        inherited: Descriptors that are passed on under their numbers; the caller closes them.
        output: Where standard output goes; the caller closes it.
        errors: Where standard error goes; None for the same.
        own_codes: As in `VmmProcess`.
        undo: Where what ends the process is registered.

    Raises:
        OSError, TimeoutError: What was started is ended by `undo`.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    held, release = os.pipe2(os.O_CLOEXEC)
    try:
        parent = popen(wrap(tell, held), [*inherited, tell, held], output, errors)
        undo.push(lambda: end_parent(parent, mark, machine_id))
        os.close(tell)
        tell = -1
        pid = await _child_pid(told)
        process = VmmProcess(pid, parent, wrapped=True, own_codes=own_codes)
        undo.push(process.kill)
        bound(pid)
        os.write(release, b"1")
        return process
    finally:
        for descriptor in (told, tell, held, release):
            if descriptor >= 0:
                os.close(descriptor)


def popen(
    command: list[str], inherited: Sequence[int], output: int, errors: int | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` with an empty environment in a session of its own. Raises `OSError`."""
    # restore_signals=False: SIGXFSZ stays ignored, so that a console log at its bound is cut
    # instead of ending the VMM. The fork is done on this thread: a parent-death signal follows the
    # thread, not the process.
    return subprocess.Popen(
        command,
        pass_fds=tuple(inherited),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output if errors is None else errors,
        env={},
        cwd="/",
        restore_signals=False,
        start_new_session=True,
    )


async def end_parent(parent: subprocess.Popen[bytes], mark: Mark, machine_id: str) -> None:
    """End what `popen` started, and all that it left of the machine `machine_id`. Repeating is harmless."""
    early = parent.poll() is None
    if early:
        parent.kill()
    await reap(parent, wrapped=False)
    if early:
        # A start that was given up: bubblewrap's child may not be bound to its parent's life yet.
        await end_marked((mark,), machine_id, whole=True)


async def _child_pid(told: int) -> int:
    """Read what bubblewrap tells about its child."""
    os.set_blocking(told, False)
    text = b""
    async with asyncio.timeout(SPAWN_S):
        while b"}" not in text:
            await readable(told)
            piece = os.read(told, 4096)
            if not piece:
                raise OSError("bubblewrap ended before the VMM was started")
            text += piece
    return int(json.loads(text)["child-pid"])

"""Whose fault it is that an attempt came to no end of its own.

Only what the service watched can count against a job: its own VM, with the job in it, ended or fell
silent. Nobody watched where the service was killed or the lease ran out, and what the service, its
disk and its stores fail at is theirs. docs/jobs.md lists all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.errors import (
    BlobError,
    BootFailed,
    EmberboxError,
    GuestError,
    NoSpace,
    RequirementMissing,
    SandboxClosed,
    StoreError,
    VmmError,
)

if TYPE_CHECKING:
    from emberbox.sandbox import Sandbox

UNWRITTEN = (StoreError, NoSpace, BlobError)
"""What keeps the service's rows or bytes is full, or away."""


def told_of(error: EmberboxError) -> str:
    """Return what a caller is told of an attempt that failed so: no path of the host."""
    if isinstance(error, NoSpace):
        return "the service's disk is full"
    if isinstance(error, RequirementMissing):
        return "the service's host lacks something that it needs; the service's log says what"
    return error.message


async def by_its_own_vm(error: EmberboxError, sandbox: Sandbox | None) -> bool:
    """Return whether the attempt failed by its own VM, and so by its job.

    Args:
        error: What ended the attempt.
        sandbox: Its VM; None when it had none yet. Then a guest that does not boot or answer counts all the
            same: its size, its image and its packages are of the job's choice. A VMM that does not start
            has nothing of the job in it, and is the host's failure.
    """
    if sandbox is None:
        return isinstance(error, BootFailed | GuestError)
    if not isinstance(error, VmmError | GuestError | SandboxClosed):
        return False
    return not await sandbox.killed_from_outside(error)

"""Why a run failed, in the words of Go's `exec` package, which the earlier services passed on."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emberbox.store.records import JobRecord


def failure_of(job: JobRecord) -> str | None:
    """Return why a job failed; None while it runs, and where it succeeded."""
    if not job.terminal or job.status == "succeeded":
        return None
    if job.reason == "exited" and job.exit_code is not None:
        return f"exit status {job.exit_code}"
    if job.reason == "signalled" and job.signal is not None:
        with suppress(ValueError):
            return f"signal: {(signal.strsignal(job.signal) or str(job.signal)).lower()}"
    return job.message or job.reason or job.status

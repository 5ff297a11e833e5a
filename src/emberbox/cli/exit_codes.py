"""What the exit code of `emberbox` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emberbox.model import RunResult
    from emberbox.schemas.jobs import Job

OK = 0
FINDINGS = 1
"""`doctor` found something missing, `images verify` something corrupt."""
USAGE = 2
"""The caller's mistake: an option, a file, a runtime that does not exist, a key that is not good for it."""
COMPILE_FAILED = 65
"""The program did not compile (EX_DATAERR of sysexits.h)."""
REQUIREMENT_MISSING = 69
"""The host lacks something (EX_UNAVAILABLE of sysexits.h)."""
UNREACHABLE = 69
"""A server gave no answer."""
FAILURE = 70
"""Emberbox or the VM failed (EX_SOFTWARE of sysexits.h)."""
TIMED_OUT = 124
"""As `timeout` from coreutils says it."""
OUTPUT_LIMIT = 125
START_FAILED = 127
"""As shells say that there is no such command."""
OUT_OF_MEMORY = 137
"""128 + SIGKILL, as the kernel's own out-of-memory killer makes it look."""
INTERRUPTED = 130
BROKEN_PIPE = 141

RUN_EPILOG = """\b
Exit codes:
  0-255  the program's own
  124    ran into its time limit
  125    wrote more than --max-output
  127    could not be started
  128+N  ended by signal N
  130    interrupted (Ctrl-C)
  137    ran out of memory
  65     did not compile
  2      a mistake in the command line, the file or the settings
  69     the host lacks something; the message says what to do
  70     the VM died, or Emberbox failed

\b
Examples:
  emberbox run hello.py
  emberbox run report.py -f data.csv -t 60 -- --verbose data.csv
  emberbox run -c 'print(6 * 7)' -r python
  cat numbers.txt | emberbox run sum.sh --time
  curl -s https://example.org/x.py | emberbox run - -r python
"""

SUBMIT_EPILOG = """\b
Exit codes with --wait:
  0-255  the program's own
  124    ran into a time limit
  125    wrote more than it may
  127    could not be started
  128+N  ended by signal N
  130    cancelled, or interrupted (Ctrl-C)
  137    ran out of memory
  65     did not compile
  2      a mistake in the command line, the file, the key or the request
  69     the server gave no answer
  70     the job was lost, or the server failed

\b
Examples:
  emberbox submit report.py --wait -f data.csv -- --verbose data.csv
  emberbox submit -c 'print(6 * 7)' -r python --wait
  id=$(emberbox submit train.py -a 'out/*'); emberbox logs -f "$id"
"""

_BY_LIMIT = {
    "cpu_limit": TIMED_OUT,
    "out_of_memory": OUT_OF_MEMORY,
    "output_limit": OUTPUT_LIMIT,
    "cancelled": INTERRUPTED,
    "start_failed": START_FAILED,
}
_BY_STATUS = {
    **_BY_LIMIT,
    "succeeded": OK,
    "timed_out": TIMED_OUT,
    "vm_died": FAILURE,
    "compile_failed": COMPILE_FAILED,
    "packages_failed": FAILURE,
}
_BY_REASON = {**_BY_LIMIT, "timeout": TIMED_OUT}


def of_result(result: RunResult) -> int:
    """Return the exit code that tells what became of a run: the program's own wherever it has one."""
    code = _BY_STATUS.get(result.status.value)
    return _own(result.signal, result.exit_code) if code is None else code


def of_job(job: Job) -> int:
    """Return the exit code that tells what became of a job: the program's own wherever it has one."""
    if job.ok:
        return OK
    if job.status.value == "compile_failed":
        return COMPILE_FAILED
    code = _BY_REASON.get("" if job.reason is None else job.reason.value)
    return _own(job.signal, job.exit_code) if code is None else code


def _own(signal: int | None, exit_code: int | None) -> int:
    """Return the code of a program that failed; one that did so with 0, or without a code, is our failure."""
    return exit_code or FAILURE if signal is None else of_signal(signal)


def of_signal(number: int) -> int:
    """Return the exit code of a process that a signal ended, as shells give it."""
    return 128 + number


def of_error(error: BaseException) -> int:
    """Return the exit code for an error that ended a command."""
    from emberbox.errors import (
        Conflict,
        InvalidInput,
        NotAllowed,
        NotAuthenticated,
        NotFound,
        RequirementMissing,
        ServerUnreachable,
    )

    if isinstance(error, InvalidInput | NotFound | NotAuthenticated | NotAllowed | Conflict):
        return USAGE
    if isinstance(error, ServerUnreachable):
        return UNREACHABLE
    return REQUIREMENT_MISSING if isinstance(error, RequirementMissing) else FAILURE

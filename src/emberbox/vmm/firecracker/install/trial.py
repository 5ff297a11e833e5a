"""Runs a freshly installed program, to see that it runs here and is of the version that was asked for."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE_S = 20.0
_BUSY_TRIES = 20
_BUSY_S = 0.05
_VERSION = re.compile(r"v([0-9]+\.[0-9]+\.[0-9]+)")


def try_program(path: Path, version: str) -> None:
    """Run `path --version`. Blocks, up to 20 s.

    Raises:
        RequirementMissing: It does not run here, or is of another version; the message says why and
            what to do.
    """
    try:
        done = _run(path)
    except subprocess.TimeoutExpired as error:
        raise RequirementMissing(
            f"{path.name} did not tell its version within {_PATIENCE_S:.0f} s"
        ) from error
    except OSError as error:
        raise RequirementMissing(_why_not(path, error), detail=repr(error)) from error
    said = done.stdout[:4096].decode("utf-8", "replace")
    found = _VERSION.search(said.partition("\n")[0])
    if done.returncode != 0 or found is None:
        errors = done.stderr[:500].decode("utf-8", "replace").strip()
        raise RequirementMissing(
            f"{path.name} does not run here: `{path.name} --version` ended with {done.returncode}",
            detail=errors or said[:500],
        )
    if found[1] != version:
        raise RequirementMissing(
            f"{path.name} says that it is version {found[1]}, not {version}: the archive is not that release"
        )


def _run(path: Path) -> subprocess.CompletedProcess[bytes]:
    for _ in range(_BUSY_TRIES):
        try:
            return subprocess.run(
                [path, "--version"],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                env={},
                timeout=_PATIENCE_S,
                check=False,
                cwd="/",
            )
        except OSError as error:
            # A process that another thread forked while the file was being written still holds it
            # open for a moment.
            if error.errno != errno.ETXTBSY:
                raise
            time.sleep(_BUSY_S)
    raise OSError(errno.ETXTBSY, os.strerror(errno.ETXTBSY), str(path))


def _why_not(path: Path, error: OSError) -> str:
    if error.errno == errno.EACCES:
        mounted = os.statvfs(path).f_flag & os.ST_NOEXEC
        why = "its file system is mounted noexec" if mounted else "the system does not allow it"
        return (
            f"{path.name} cannot be run from {path.parent}: {why}. Set EMBERBOX_DATA to a folder where "
            "programs may be run, or remount that file system with exec"
        )
    if error.errno == errno.ENOEXEC:
        return f"{path.name} is no program for this machine ({os.uname().machine}); fetch the release for it"
    return f"{path.name} does not run here: {error.strerror}"

"""Tries whether every user of this host may make user namespaces, as one who has no rights."""

from __future__ import annotations

import os
import subprocess

_NOBODY = "65534"
_TRY_S = 10.0
_BECOME = ("setpriv", "--reuid", _NOBODY, "--regid", _NOBODY, "--clear-groups", "--")
# The network namespace takes a right that a guarded user namespace does not give.
_MAKE = ("unshare", "--user", "--map-root-user", "--net", "true")


def every_user_makes_namespaces() -> bool | None:
    """Return whether one without rights can make them; None where it cannot be tried. Leaves nothing."""
    command = [*(_BECOME if os.geteuid() == 0 else ()), *_MAKE]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRY_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.returncode == 0

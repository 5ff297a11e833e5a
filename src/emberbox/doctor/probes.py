"""Looks at the host.

Every probe is bounded, changes nothing that stays, and returns plain values for the checks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from emberbox.files.paths import text_of
from emberbox.vmm.process import confinement

_PROGRAM_S = 10.0
_WRITTEN_BYTES = 1024 * 1024
_READ_BYTES = 4096
_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}
_ELF_INTERPRETER = 3
_SYSCTLS = (
    "kernel.apparmor_restrict_unprivileged_userns",
    "kernel.unprivileged_userns_clone",
    "user.max_user_namespaces",
)

_NOBODY = "65534"
_BECOME = ("setpriv", "--reuid", _NOBODY, "--regid", _NOBODY, "--clear-groups", "--")
# The network namespace takes a right that a guarded user namespace does not give.
_MAKE = ("unshare", "--user", "--map-root-user", "--net", "true")


def version_of(path: str | None) -> str | None:
    """Return the first line that a program prints for `--version`; None when there is none or it fails."""
    done = None if path is None else _run(path, "--version")
    if done is None or done.returncode != 0:
        return None
    return done.stdout.strip().partition("\n")[0] or None


def _run(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Run a program to its end; None where it does not start, or does not come to one."""
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROGRAM_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None


def shutting_in_problem(uid: int) -> str | None:
    """Return why a program cannot be shut in as VMMs are, by doing it; None when it can.

    Args:
        uid: The user that it is given where we are root.
    """
    told, held = os.open(os.devnull, os.O_WRONLY), os.open(os.devnull, os.O_RDONLY)
    command = confinement.wrap(confinement.Cell(root=Path("/"), uid=uid), ["/bin/true"], told, held)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROGRAM_S,
            check=False,
            pass_fds=(told, held),
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    finally:
        os.close(told)
        os.close(held)
    return None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def every_user_makes_namespaces() -> bool | None:
    """Return whether one without rights can make them; None where it cannot be tried. Leaves nothing."""
    done = _run(*(_BECOME if os.geteuid() == 0 else ()), *_MAKE)
    return None if done is None else done.returncode == 0


def sysctls() -> dict[str, int]:
    """Return the kernel's settings about user namespaces, as far as it has them."""
    told = {name: text_of(Path("/proc/sys", *name.split("."))).strip() for name in _SYSCTLS}
    return {name: int(value) for name, value in told.items() if value.isdecimal()}


def memory_mib() -> tuple[int, int]:
    """Return the host's memory, all and available, in MiB."""
    values = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) // 1024
    return values["MemTotal"], values.get("MemAvailable", values.get("MemFree", 0))


@dataclass(frozen=True, slots=True)
class FolderState:
    """What a folder is like.

    Args:
        problem: Why it cannot be written; None when it can.
        free_bytes: Left to this user.
        file_system: Its type, as the kernel names it.
    """

    problem: str | None
    free_bytes: int
    file_system: str


def folder_state(path: Path) -> FolderState:
    """Look at a folder, or at the nearest one above it that exists.

    A MiB is written to a file there, which is gone at once.
    """
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    problem = None
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(_WRITTEN_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        problem = f"cannot be written: {error.strerror}"
    return FolderState(problem, shutil.disk_usage(there).free, file_system_of(there))


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the file system that a folder is on; `unknown` when the kernel does not tell."""
    best, kind = "", "unknown"
    resolved = str(path.resolve())
    for line in mounts.read_text().splitlines():
        _, point, name, *_ = line.split(" ")
        folder = point.replace("\\040", " ")
        inside = resolved == folder or resolved.startswith(folder.rstrip("/") + "/")
        if inside and len(folder) >= len(best):
            best, kind = folder, name
    return kind


def file_size(path: Path) -> int | None:
    """Return a file's size in bytes; None when there is none."""
    return path.stat().st_size if path.is_file() else None


def read_some(path: Path) -> None:
    """Read a file's beginning and its end. Raises `OSError` where this user may not, or the disk cannot."""
    with path.open("rb") as file:
        file.read(_READ_BYTES)
        file.seek(max(0, path.stat().st_size - _READ_BYTES))
        file.read(_READ_BYTES)


def program_problem(path: Path, machine: str) -> str | None:
    """Return why a file is no static program for the architecture `machine`.

    None stands for a file that is one, and for one that is missing. Source: the ELF header and its
    program headers, elf(5).
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(_READ_BYTES)
    if head[:6] != b"\x7fELF\x02\x01" or len(head) < 64:
        return "is no program"
    kind = int.from_bytes(head[18:20], "little")
    if kind != _ELF_MACHINES.get(machine):
        return f"is a program for another processor than {machine}"
    start, size, count = (int.from_bytes(head[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    kinds = [
        int.from_bytes(head[at : at + 4], "little") for at in range(start, start + size * count, size or 1)
    ]
    return "needs libraries that no guest has" if _ELF_INTERPRETER in kinds else None


def runs(path: str) -> bool:
    """Tell whether a program starts and tells its version, by either of the usual two options."""
    for option in ("--version", "-V"):
        done = _run(path, option)
        if done is None or done.returncode == 0:
            return done is not None
    return False


def is_root() -> bool:
    """Tell whether we are root."""
    return os.geteuid() == 0

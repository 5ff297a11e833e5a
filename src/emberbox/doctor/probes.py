"""Looks at the host. Every probe is bounded, changes nothing that stays, and returns plain values for the checks."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_PROGRAM_S = 10.0
_SYSCTLS = ("kernel.apparmor_restrict_unprivileged_userns", "kernel.unprivileged_userns_clone", "user.max_user_namespaces")
_ADMINISTRATOR_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def find(program: str) -> str | None:
    """Return a program's path, also from the administrator's folders; None when it is missing."""
    return shutil.which(program) or shutil.which(program, path=_ADMINISTRATOR_FOLDERS)


def version_of(path: str | None) -> str | None:
    """Return the first line that a program prints for `--version`; None when there is none or it fails."""
    if path is None:
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=_PROGRAM_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().partition("\n")[0] or None


def namespaces_problem(bubblewrap: str | None) -> str | None:
    """Return why this user cannot be given a user namespace, by trying; None when it can."""
    if bubblewrap is None:
        return "cannot be tried without bubblewrap"
    command = [bubblewrap, "--unshare-user", "--unshare-net", "--ro-bind", "/", "/", "true"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PROGRAM_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"


def sysctls() -> dict[str, int]:
    """Return the kernel's settings about user namespaces, as far as it has them."""
    found = {}
    for name in _SYSCTLS:
        try:
            found[name] = int(Path("/proc/sys", *name.split(".")).read_text())
        except (OSError, ValueError):
            continue
    return found


def memory_mib() -> tuple[int, int]:
    """Return the host's memory, all and available, in MiB."""
    values = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        values[name] = int(rest.split()[0]) // 1024
    return values["MemTotal"], values.get("MemAvailable", values.get("MemFree", 0))


@dataclass(frozen=True, slots=True)
class FolderState:
    """What a folder is like: why it cannot be written (None when it can), bytes free, the file system's type."""

    problem: str | None
    free_bytes: int
    file_system: str


def folder_state(path: Path) -> FolderState:
    """Look at a folder, or at the nearest one above it that exists, by writing a file that is gone at once."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    problem = None
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
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


def is_root() -> bool:
    """Tell whether we are root."""
    return os.geteuid() == 0

"""What the jailer is told, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_SINGLE = ("id", "exec-file", "uid", "gid", "chroot-base-dir", "netns", "parent-cgroup", "cgroup-version")
_MANY = ("cgroup", "resource-limit")
_FLAGS = ("daemonize", "new-pid-ns", "version")
_NO_FILE = 2048
_NUMBER = re.compile(r"[0-9]{1,20}")


class JailerError(Exception):
    """What the jailer says on its standard error before it exits with 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Checked arguments.

    Args:
        id: Name of the jail.
        exec_file: What to run, canonical.
        uid: Whose rights it gets.
        gid: Its group.
        base: Folder of all jails, canonical.
        netns: Network namespace to join; None to stay.
        daemonize: Whether to start a session and drop the standard streams.
        new_pid_ns: Whether to run it as the first of a PID namespace, and exit.
        parent_cgroup: Relative path of the groups that hold this one.
        parent_given: Whether that was said, not assumed.
        cgroup_version: 1 or 2.
        cgroups: Files of the group and their values.
        file_bytes: Limit `fsize`; None for none.
        open_files: Limit `no-file`.
        extra: Arguments for what runs.
    """

    id: str
    exec_file: Path
    uid: int
    gid: int
    base: Path
    netns: str | None
    daemonize: bool
    new_pid_ns: bool
    parent_cgroup: PurePosixPath
    parent_given: bool
    cgroup_version: int
    cgroups: tuple[tuple[str, str], ...]
    file_bytes: int | None
    open_files: int
    extra: tuple[str, ...]

    @property
    def root(self) -> Path:
        """The jail's root on the host."""
        return self.base / self.exec_file.name / self.id / "root"


def split(argv: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the options with their values (a flag has none), and what follows `--`. Raises `JailerError`."""
    own, extra = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    found: dict[str, list[str]] = {}
    words = iter(own)
    for word in words:
        name = word.removeprefix("--")
        if not word.startswith("--") or name not in (*_SINGLE, *_MANY, *_FLAGS):
            raise JailerError(f"Arguments parsing error: Found argument '{word}' which wasn't expected")
        if name in found and name not in _MANY:
            raise JailerError(f"Arguments parsing error: The argument '{name}' was provided more than once.")
        values = found.setdefault(name, [])
        if name not in _FLAGS:
            value = next(words, None)
            if value is None or value.startswith("--"):
                raise JailerError(
                    f"Arguments parsing error: The argument '{name}' requires a value, but none was supplied."
                )
            values.append(value)
    return found, extra


def parse(argv: list[str]) -> Orders:
    """Check all arguments. Raises `JailerError` for the first that is not fit; nothing was done then."""
    found, extra = split(argv)
    for name in ("id", "exec-file", "uid", "gid"):
        if name not in found:
            raise JailerError(f"Arguments parsing error: Argument '{name}' required, but not found.")
    one = {name: values[0] for name, values in found.items() if values}
    if not _ID.fullmatch(one["id"]):
        raise JailerError(f"Invalid instance ID: {one['id']!r} is not 1 to 64 letters, digits and hyphens")
    exec_file = _exec_file(one["exec-file"])
    file_bytes, open_files = _limits(found.get("resource-limit", []))
    return Orders(
        id=one["id"],
        exec_file=exec_file,
        uid=_number(one["uid"], 2**32 - 1, "Invalid uid"),
        gid=_number(one["gid"], 2**32 - 1, "Invalid gid"),
        base=_base(one.get("chroot-base-dir", "/srv/jailer")),
        netns=one.get("netns"),
        daemonize="daemonize" in found,
        new_pid_ns="new-pid-ns" in found,
        parent_cgroup=_parent(one.get("parent-cgroup", exec_file.name)),
        parent_given="parent-cgroup" in found,
        cgroup_version=_version(one.get("cgroup-version", "1")),
        cgroups=tuple(_cgroup(text) for text in found.get("cgroup", [])),
        file_bytes=file_bytes,
        open_files=open_files,
        extra=tuple(extra),
    )


def _canonical(text: str) -> Path:
    try:
        return Path(text).resolve(strict=True)
    except OSError as error:
        raise JailerError(f"Failed to canonicalize path {text}: {error.strerror}") from error


def _exec_file(text: str) -> Path:
    path = _canonical(text)
    if not path.is_file():
        raise JailerError(f"{path} is not a file")
    if "firecracker" not in path.name:
        raise JailerError(
            f'Invalid filename. The filename of `--exec-file` option must contain "firecracker": {path.name}'
        )
    return path


def _base(text: str) -> Path:
    path = _canonical(text)
    if not path.is_dir():
        raise JailerError(f"{path} is not a directory")
    return path


def _number(text: str, largest: int, problem: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > largest:
        raise JailerError(f"{problem}: {text}")
    return int(text)


def _parent(text: str) -> PurePosixPath:
    if text.startswith("/") or any(part in (".", "..") for part in text.split("/")):
        raise JailerError("Parent cgroup path is invalid. Path should not be absolute or contain '..' or '.'")
    return PurePosixPath(text)


def _version(text: str) -> int:
    if text not in ("1", "2"):
        raise JailerError(f"{text} is an invalid cgroup version specifier")
    return int(text)


def _cgroup(text: str) -> tuple[str, str]:
    file, equals, value = text.partition("=")
    if not equals or not value or "=" in value:
        raise JailerError(f"Invalid format for cgroups: {text}")
    if "/" in file or file.count(".") != 1:
        raise JailerError(f"Cgroup invalid file: {file}")
    return file, value


def _limits(texts: list[str]) -> tuple[int | None, int]:
    limits: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise JailerError(f"Invalid format for resources limits: {text}")
        if name not in ("fsize", "no-file"):
            raise JailerError(f"Invalid resource argument: {name}")
        limits[name] = _number(value, 2**64 - 1, "Invalid limit value for resource")
    return limits.get("fsize"), limits.get("no-file", _NO_FILE)

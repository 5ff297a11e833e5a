"""A service's marks in its data folder: that it is there, where it is reached, and the key that its own machine's user may use.

`service.lock` is held by the service that runs; the kernel lets go of it when that dies, however it dies. `service.json` says
where it listens. `admin.key` holds the key that the first start made.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from typing import TYPE_CHECKING, Self

from emberbox.errors import DataFolderBusy, RequirementMissing

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

_PRIVATE = 0o600


class ServiceFolder:
    """A data folder that this service has for itself. Made by `claim`, ended by `release`.

    Args:
        data: The data folder.
        lock: Descriptor of `service.lock`, locked.
    """

    def __init__(self, data: Path, lock: int) -> None:
        self.data = data
        self._lock = lock

    @classmethod
    def claim(cls, data: Path) -> Self:
        """Take the folder, which is made when missing.

        Raises:
            DataFolderBusy: Another service has it; the message says which.
            RequirementMissing: It cannot be written to.
        """
        try:
            data.mkdir(parents=True, exist_ok=True)
            lock = os.open(data / "service.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
        except OSError as error:
            raise RequirementMissing(
                f"the data folder {data} cannot be used: {error.strerror}; choose another with --data", detail=str(error)
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 32).decode("ascii", "replace").strip()
            os.close(lock)
            raise DataFolderBusy(_busy(data, holder)) from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        # What a service that was killed left behind.
        (data / "service.json").unlink(missing_ok=True)
        return cls(data, lock)

    def announce(self, url: str, version: str) -> None:
        """Let the programs of this machine find the service."""
        _write(self.data / "service.json", json.dumps({"url": url, "pid": os.getpid(), "version": version}) + "\n")

    @property
    def admin_key_file(self) -> Path:
        """Where the admin key lies."""
        return self.data / "admin.key"

    def admin_key(self) -> str | None:
        """Return the admin key that is kept here, or None."""
        try:
            return self.admin_key_file.read_text("ascii").strip() or None
        except (FileNotFoundError, UnicodeDecodeError):
            return None

    def keep_admin_key(self, secret: str) -> None:
        """Keep the admin key, readable for its owner alone."""
        _write(self.admin_key_file, f"{secret}\n")

    def release(self) -> None:
        """Give the folder back. Repeating is harmless."""
        if self._lock >= 0:
            (self.data / "service.json").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def _busy(data: Path, holder: str) -> str:
    who = f"process {holder}" if holder.isdigit() else "another process"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        who = f"{who}, at {json.loads((data / 'service.json').read_text('utf-8'))['url']}"
    return f"a service runs on {data} already ({who}); stop it, or give this one another folder with --data"


def _write(path: Path, content: str) -> None:
    """Write a file that is there whole or not at all, for its owner alone."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123  a descriptor and no path
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)

"""A service's marks in its data folder: its lock, its address, and its first key.

`service.lock` is held by the service that runs; the kernel releases it when that dies, however it
dies. `service.json` says where it listens. `admin.key` holds the key that the first start made.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Self

from emberbox.errors import DataFolderBusy, RequirementMissing
from emberbox.files.atomic import remove_partial, write_file
from emberbox.files.locks import Lock, try_lock

if TYPE_CHECKING:
    from pathlib import Path


class ServiceFolder:
    """A data folder that this service has for itself. Made by `claim`, ended by `release`.

    Args:
        data: The data folder.
        lock: The lock on `service.lock`.
    """

    def __init__(self, data: Path, lock: Lock) -> None:
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
            lock = try_lock(data / "service.lock")
        except OSError as error:
            raise RequirementMissing(
                f"the data folder {data} cannot be used: {error.strerror}; choose another with --data",
                detail=str(error),
            ) from error
        if lock is None:
            raise DataFolderBusy(_busy(data))
        os.ftruncate(lock.fileno(), 0)
        os.pwrite(lock.fileno(), f"{os.getpid()}\n".encode(), 0)
        # What a service that was killed left behind.
        (data / "service.json").unlink(missing_ok=True)
        remove_partial(data, older_than_s=0.0)
        return cls(data, lock)

    def announce(self, url: str, version: str) -> None:
        """Let the programs of this machine find the service."""
        text = json.dumps({"url": url, "pid": os.getpid(), "version": version}) + "\n"
        write_file(self.data / "service.json", text, durable=True)

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
        write_file(self.admin_key_file, f"{secret}\n", durable=True)

    def release(self) -> None:
        """Give the folder back. Repeating is harmless."""
        if self._lock.fileno() >= 0:
            (self.data / "service.json").unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()


def _busy(data: Path) -> str:
    who = "another process"
    with contextlib.suppress(OSError, ValueError):
        who = f"process {int((data / 'service.lock').read_bytes()[:32])}"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        who = f"{who}, at {json.loads((data / 'service.json').read_text('utf-8'))['url']}"
    return f"a service runs on {data} already ({who}); stop it, or give this one another folder with --data"

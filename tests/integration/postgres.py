"""A PostgreSQL server of the tests' own: in a folder of its own, on a Unix socket alone, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "60",
    "autovacuum": "off",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "timezone": "UTC",
}
"""For speed: what is lost with the machine is lost gladly here."""


def find_programs() -> Path | None:
    """Return the folder of the newest PostgreSQL's programs, or None when there is none."""
    found = sorted(
        (path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").is_file()),
        key=lambda path: int(path.parent.name),
    )
    if found:
        return found[-1]
    program = shutil.which("initdb")
    return Path(program).resolve().parent if program else None


class PostgresServer:
    """A server that can be stopped and started again, with what it holds.

    Args:
        programs: The folder of its programs.
        folder: Its data lie below it, and its socket in it.
    """

    def __init__(self, programs: Path, folder: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._user = _give_away(folder)
        self._process: subprocess.Popen[bytes] | None = None
        _initialise(programs, folder, self._user)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = _start(self._programs, self.folder, self._user)

    def stop(self) -> None:
        """End it, and with it all its connections. Repeating is harmless."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def running_server(programs: Path) -> Iterator[PostgresServer]:
    """Run a server. Its superuser is `tests`, without a password."""
    # /tmp and not pytest's folder: a socket's path has room for about a hundred characters, and
    # others must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix="ember-pg-", dir="/tmp"))
    server: PostgresServer | None = None
    try:
        server = PostgresServer(programs, folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_server(programs: Path) -> Iterator[Path]:
    """Run a server; yields the folder of its socket."""
    with running_server(programs) as server:
        yield server.folder


def _give_away(folder: Path) -> int | None:
    """PostgreSQL refuses to run as root: let the folder, and the server, belong to another user."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return user.pw_uid
    raise RuntimeError("PostgreSQL does not run as root, and there is no other user to run it as")


def _initialise(programs: Path, folder: Path, user: int | None) -> None:
    options = ["-U", "tests", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    command = [str(programs / "initdb"), "-D", str(folder / "data"), *options]
    done = subprocess.run(
        command, cwd=folder, user=user, group=_group(user), extra_groups=_extra(user), capture_output=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"initdb failed: {done.stderr.decode()}")


def _start(programs: Path, folder: Path, user: int | None) -> subprocess.Popen[bytes]:
    options = [word for name, value in OPTIONS.items() for word in ("-c", f"{name}={value}")]
    log = (folder / "log").open("wb")
    with log:
        process = subprocess.Popen(
            [programs / "postgres", "-D", folder / "data", "-k", folder, *options],
            stdin=subprocess.DEVNULL,
            cwd=folder,
            user=user,
            group=_group(user),
            extra_groups=_extra(user),
            stdout=log,
            stderr=log,
        )
    deadline = time.monotonic() + PATIENCE_S
    while subprocess.run([programs / "pg_isready", "-q", "-h", folder], check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise RuntimeError(f"postgres did not start: {(folder / 'log').read_text()}")
        time.sleep(0.05)
    return process


def _group(user: int | None) -> int | None:
    return None if user is None else pwd.getpwuid(user).pw_gid


def _extra(user: int | None) -> list[int] | None:
    return None if user is None else []

"""A Firecracker peer of one's own, spoken to by plain HTTP: no driver, no jail."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.patience import PATIENCE_S
from tests.peers.binaries import peer_processor, system_python

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[3]
_PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tests.peers.firecracker.main import main
sys.exit(main(sys.argv[3:], json.loads(sys.argv[2])))
"""


class PeerProcess:
    """A running peer.

    `folder` is its own; its socket is `api.sock` there, its standard output goes to `output`.

    Args:
        folder: Made when missing.
        arguments: Of the peer's command line, besides its socket's.
        version: What it says it is.
        cwd: Where it runs; None for here.
        within: What its command line is put behind, such as a program that gives it a namespace.
        behaviour: As in `tests.peers.firecracker`.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        version: str = "1.16.1",
        cwd: Path | None = None,
        within: Sequence[str] = (),
        **behaviour: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.socket = folder / "api.sock"
        self.output = folder / "output"
        options = json.dumps({"version": version, "processor": peer_processor(), "behaviour": behaviour})
        command = [
            str(system_python()),
            "-I",
            "-c",
            _PROGRAM,
            str(ROOT),
            options,
            "--api-sock",
            str(self.socket),
            *arguments,
        ]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*within, *command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def ready(self) -> PeerProcess:
        """Wait until the socket takes connections."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._connects():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self

    def said(self) -> str:
        """Return standard output and standard error."""
        return self.output.read_text("utf-8", "replace")

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send one request on a connection of its own; returns the status and the JSON, or None."""
        with Connection(self.socket) as connection:
            return connection.call(method, path, body)

    def done(self, method: str, path: str, body: Any = None) -> None:
        """Send one request that must succeed."""
        assert self.call(method, path, body) == (204, None)

    def fault(self, method: str, path: str, body: Any = None) -> str:
        """Send one request that must be refused; returns why."""
        status, answer = self.call(method, path, body)
        assert status == 400, (status, answer)
        assert set(answer) == {"fault_message"}
        return str(answer["fault_message"])

    def ended(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for the end; returns the exit code."""
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """End the process. Repeating is harmless."""
        self.process.kill()
        self.process.wait()

    def _connects(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.socket)) == 0

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, *, timeout_s: float = PATIENCE_S) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send one request; returns status and JSON."""
        status, text = self.exchange(method, path, None if body is None else json.dumps(body))
        return status, json.loads(text) if text else None

    def exchange(self, method: str, path: str, body: str | None) -> tuple[int, str]:
        """Send one request; returns status and text, which is empty for none."""
        self.request(method, path, body)
        answer = self.getresponse()
        return answer.status, answer.read().decode()

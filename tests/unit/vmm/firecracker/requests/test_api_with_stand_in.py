"""The client against the stand-in for Firecracker, as a process of its own; no guest is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox.errors import VmmDied, VmmError, VmmTimeout
from emberbox.vmm.firecracker.requests.api import FirecrackerApi
from emberbox.vmm.firecracker.requests.faults import FirecrackerFault
from emberbox.vmm.firecracker.requests.request import Request
from tests.patience import PATIENCE_S
from tests.peers.description import deliberately_wrong
from tests.unit.peers.firecracker_process import PeerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ENTROPY = Request("PUT", "/entropy", {})


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[PeerProcess]:
    for name in ("kernel", "initramfs", "drive"):
        (tmp_path / name).write_bytes(b"\0" * 4096)
    process = PeerProcess(tmp_path / "peer", unknown_fields=["free_page_reporting", "clock_realtime"])
    yield process
    process.close()


@pytest_asyncio.fixture
async def api(peer: PeerProcess) -> AsyncIterator[FirecrackerApi]:
    client = FirecrackerApi(peer.socket, name="m1")
    await client.ready(PATIENCE_S, lambda: peer.process.poll() is None)
    yield client
    await client.close()


async def test_a_machine_is_configured(api: FirecrackerApi, tmp_path: Path) -> None:
    kernel, initramfs = str(tmp_path / "kernel"), str(tmp_path / "initramfs")
    drive = {"drive_id": "0", "path_on_host": str(tmp_path / "drive"), "is_root_device": False}
    balloon = {"amount_mib": 0, "deflate_on_oom": True, "free_page_reporting": True}
    for request in (
        Request("PUT", "/machine-config", {"vcpu_count": 2, "mem_size_mib": 256}),
        Request("PUT", "/boot-source", {"kernel_image_path": kernel, "initrd_path": initramfs}),
        Request("PUT", "/drives/0", drive),
        Request("PUT", "/vsock", {"guest_cid": 3, "uds_path": str(tmp_path / "v.sock")}),
        ENTROPY,
        Request("PUT", "/hotplug/memory", {"total_size_mib": 1024}),
        Request("PUT", "/balloon", balloon, optional=("free_page_reporting",)),
    ):
        await api.send(request)
    assert api.unknown == {"/balloon: free_page_reporting"}
    assert await api.state() == "Not started"


async def test_its_faults_are_ours(api: FirecrackerApi) -> None:
    with pytest.raises(FirecrackerFault, match="only once the machine runs"):
        await api.send(Request("PATCH", "/vm", {"state": "Paused"}))
    with pytest.raises(FirecrackerFault, match="not in the machine's jail"):
        await api.send(Request("PUT", "/boot-source", {"kernel_image_path": "/no/such/kernel"}))
    with deliberately_wrong(), pytest.raises(FirecrackerFault, match="too old") as caught:
        await api._exchange("PUT", "/time-machine", {}, None)
    assert caught.value.request == "PUT /time-machine"
    with pytest.raises(FirecrackerFault, match="statistics"):
        await api.balloon_statistics()
    assert await api.state() == "Not started"


async def test_a_failed_load_ends_the_process(api: FirecrackerApi, peer: PeerProcess) -> None:
    memory = {"backend_path": "/no/memory", "backend_type": "File"}
    files = {"snapshot_path": "/no/state", "mem_backend": memory}
    load = Request("PUT", "/snapshot/load", {**files, "clock_realtime": True}, optional=("clock_realtime",))
    with pytest.raises(FirecrackerFault, match="PUT /snapshot/load"):
        await api.send(load)
    assert api.unknown == {"/snapshot/load: clock_realtime"}
    assert peer.ended() == 1
    with pytest.raises(VmmDied):
        await api.state()


async def test_its_end_is_seen(api: FirecrackerApi, peer: PeerProcess) -> None:
    await api.state()
    peer.close()
    with pytest.raises(VmmDied):
        await api.state()


async def test_an_end_before_it_listens_is_seen(tmp_path: Path) -> None:
    peer = PeerProcess(tmp_path / "peer", "--nonsense")
    client = FirecrackerApi(peer.socket, name="m1")
    with pytest.raises(VmmDied, match="before it took requests"):
        await client.ready(PATIENCE_S, lambda: peer.process.poll() is None)
    await client.close()
    assert peer.ended() == 153


async def test_garbage_is_not_believed(tmp_path: Path) -> None:
    peer = PeerProcess(tmp_path / "peer", garbage="PUT /entropy")
    client = FirecrackerApi(peer.socket, name="m1")
    try:
        await client.ready(PATIENCE_S, lambda: peer.process.poll() is None)
        with pytest.raises(VmmError, match="not HTTP"):
            await client.send(ENTROPY)
        assert await client.state() == "Not started"
    finally:
        await client.close()
        peer.close()


async def test_silence_is_bounded_and_what_comes_after_it_too(tmp_path: Path) -> None:
    peer = PeerProcess(tmp_path / "peer", hang="PUT /entropy")
    client = FirecrackerApi(peer.socket, name="m1")
    try:
        await client.ready(PATIENCE_S, lambda: peer.process.poll() is None)
        with pytest.raises(VmmTimeout, match="PUT /entropy"):
            await client.send(ENTROPY, timeout_s=0.1)
        with pytest.raises(VmmTimeout, match="PUT /actions"):
            await client.send(Request("PUT", "/actions", {"action_type": "FlushMetrics"}), timeout_s=0.1)
    finally:
        await client.close()
        peer.close()

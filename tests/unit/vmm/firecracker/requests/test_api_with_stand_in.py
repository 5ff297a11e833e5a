"""The client against the stand-in for Firecracker, as a process of its own; no guest is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox.errors import VmmDied, VmmError, VmmTimeout
from emberbox.vmm.firecracker.requests import bodies, devices
from emberbox.vmm.firecracker.requests.api import FirecrackerApi
from emberbox.vmm.firecracker.requests.faults import FirecrackerFault
from tests.patience import PATIENCE_S
from tests.peers.description import deliberately_wrong
from tests.unit.peers.firecracker_process import PeerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from emberbox.vmm.firecracker.requests.request import Request


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
    requests: list[Request] = [
        bodies.MachineConfiguration(vcpu_count=2, mem_size_mib=256),
        bodies.BootSource(
            kernel_image_path=str(tmp_path / "kernel"),
            initrd_path=str(tmp_path / "initramfs"),
            boot_args="quiet",
        ),
        devices.DriveConfig(drive_id="0", path_on_host=str(tmp_path / "drive"), io_engine="Sync"),
        devices.Vsock(guest_cid=3, uds_path=str(tmp_path / "v.sock")),
        devices.EntropyDevice(),
        devices.MemoryHotplug(total_size_mib=1024),
    ]
    for request in requests:
        await api.send(request)
    balloon = devices.Balloon(
        amount_mib=0, deflate_on_oom=True, stats_polling_interval_s=1, free_page_reporting=True
    )
    await api.send(balloon, optional=("free_page_reporting",))
    assert api.unknown == {"Balloon.free_page_reporting"}
    told = await api.instance()
    assert (told.state, told.vmm_version) == ("Not started", "1.16.1")


async def test_its_faults_are_ours(api: FirecrackerApi) -> None:
    with pytest.raises(FirecrackerFault, match="only once the machine runs"):
        await api.send(bodies.VmState(state="Paused"))
    with pytest.raises(FirecrackerFault, match="not in the machine's jail"):
        await api.send(bodies.BootSource(kernel_image_path="/no/such/kernel"))
    with deliberately_wrong(), pytest.raises(FirecrackerFault, match="too old") as caught:
        await api._exchange("PUT", "/time-machine", {}, None)
    assert caught.value.request == "PUT /time-machine"
    with pytest.raises(FirecrackerFault, match="statistics"):
        await api.balloon_statistics()
    assert (await api.instance()).id == "anonymous-instance"


async def test_a_failed_load_ends_the_process(api: FirecrackerApi, peer: PeerProcess) -> None:
    load = bodies.SnapshotLoad(
        snapshot_path="/no/state",
        mem_backend=bodies.MemoryBackend(backend_path="/no/memory"),
        clock_realtime=True,
    )
    with pytest.raises(FirecrackerFault, match="PUT /snapshot/load"):
        await api.send(load, optional=("clock_realtime",))
    assert api.unknown == {"SnapshotLoad.clock_realtime"}
    assert peer.ended() == 1
    with pytest.raises(VmmDied):
        await api.instance()


async def test_its_end_is_seen(api: FirecrackerApi, peer: PeerProcess) -> None:
    await api.instance()
    peer.close()
    with pytest.raises(VmmDied):
        await api.instance()


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
            await client.send(devices.EntropyDevice())
        assert (await client.instance()).state == "Not started"
    finally:
        await client.close()
        peer.close()


async def test_silence_is_bounded_and_what_comes_after_it_too(tmp_path: Path) -> None:
    peer = PeerProcess(tmp_path / "peer", hang="PUT /entropy")
    client = FirecrackerApi(peer.socket, name="m1")
    try:
        await client.ready(PATIENCE_S, lambda: peer.process.poll() is None)
        with pytest.raises(VmmTimeout, match="PUT /entropy"):
            await client.send(devices.EntropyDevice(), timeout_s=0.1)
        with pytest.raises(VmmTimeout, match="PUT /actions"):
            await client.send(bodies.Action(action_type="FlushMetrics"), timeout_s=0.1)
    finally:
        await client.close()
        peer.close()

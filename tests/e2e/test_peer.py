"""The peer VMM by itself, without driver and jail: from its configuration to two clones that run programs."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import struct
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from emberbox.errors import GuestGone
from emberbox.guest import ExecRequest, GuestClient
from emberbox.runtimes import builtin_folder, discover
from tests.patience import PATIENCE_S, until
from tests.unit.peers.firecracker_process import PeerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from emberbox.images import Image, ImageStore

PORT = 1024
BOOT_S = 180.0
BOOT_ARGS = (
    "console=ttyS0 reboot=k panic=1 quiet loglevel=1 random.trust_cpu=on mitigations=off "
    "emberbox.channel=vsock:1024"
)
BALLOON = {
    "amount_mib": 0,
    "deflate_on_oom": True,
    "stats_polling_interval_s": 1,
    "free_page_reporting": True,
}
PAGE = 4096
SETIFF, SETPERSIST = 0x400454CA, 0x400454CB  # linux/if_tun.h
TAP = 0x0002 | 0x1000 | 0x4000  # IFF_TAP, IFF_NO_PI, IFF_VNET_HDR


@pytest.fixture(scope="module")
def image(images: ImageStore) -> Image:
    (python,) = (runtime for runtime in discover([builtin_folder()]) if runtime.name == "python")
    found = images.find(python)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def taps() -> Iterator[list[str]]:
    """Three TAP devices that live as long as the tests."""
    with ExitStack() as stack:
        yield [stack.enter_context(tap(f"peer{os.getpid() % 100_000}x{number}")) for number in range(3)]


@contextmanager
def tap(name: str) -> Iterator[str]:
    set_tap(name, persistent=True)
    try:
        yield name
    finally:
        set_tap(name, persistent=False)


def set_tap(name: str, *, persistent: bool) -> None:
    """Make or remove a TAP device. The QEMU of a crashed peer may hold it for a moment still."""
    deadline = time.monotonic() + PATIENCE_S
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.ioctl(descriptor, SETIFF, struct.pack("16sH22x", name.encode(), TAP))
                break
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        fcntl.ioctl(descriptor, SETPERSIST, int(persistent))
    finally:
        os.close(descriptor)


@pytest_asyncio.fixture(scope="module")
async def frozen(
    image: Image, taps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PeerProcess]:
    """A paused guest of which there is a snapshot."""
    with PeerProcess(tmp_path_factory.mktemp("peer") / "template", "--id", "template").ready() as peer:
        boot(peer, image, taps[0])
        async with agent(peer, peer.folder / "v.sock") as client:
            await client.hello(timeout_s=BOOT_S)
            await client.prepare(waiting=None, timeout_s=PATIENCE_S)
            await client.flush(timeout_s=PATIENCE_S)
        assert peer.call("GET", "/")[1]["state"] == "Running"
        assert metrics(peer)["block"]["read_bytes"] > 0
        assert "while running" in peer.fault("PUT", "/snapshot/create", snapshot_files(peer))
        assert "after starting" in peer.fault("PUT", "/entropy", {})
        peer.done("PATCH", "/vm", {"state": "Paused"})
        assert peer.call("GET", "/")[1]["state"] == "Paused"
        peer.done("PUT", "/snapshot/create", snapshot_files(peer))
        assert (peer.folder / "memory").stat().st_size == 256 << 20
        yield peer


def boot(peer: PeerProcess, image: Image, tap_name: str) -> None:
    kernel = {
        "kernel_image_path": str(image.kernel),
        "initrd_path": str(image.initramfs),
        "boot_args": BOOT_ARGS,
    }
    os.mkfifo(peer.folder / "metrics")
    peer.done("PUT", "/metrics", {"metrics_path": str(peer.folder / "metrics")})
    peer.done("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 256})
    peer.done("PUT", "/boot-source", kernel)
    peer.done("PUT", "/drives/0", drive(image.rootfs))
    (peer.folder / "second").write_bytes(b"one".ljust(PAGE))
    peer.done("PUT", "/drives/1", drive(peer.folder / "second", "1"))
    eth0 = {"iface_id": "eth0", "host_dev_name": tap_name, "guest_mac": "02:00:00:00:00:01"}
    peer.done("PUT", "/network-interfaces/eth0", eth0)
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
    client = GuestClient(*streams)
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
    outcome = await process.collect(stdin=None, keep_stdout=None, keep_stderr=None, timeout_s=PATIENCE_S)
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


async def load(template: PeerProcess, clone: PeerProcess, *, tap: str, **more: Any) -> None:
    await asyncio.to_thread(clone.done, "PUT", "/snapshot/load", load_body(template, clone, tap=tap) | more)


def load_body(template: PeerProcess, clone: PeerProcess, *, tap: str) -> dict[str, Any]:
    return {
        "snapshot_path": str(template.folder / "state"),
        "mem_backend": {"backend_type": "File", "backend_path": str(template.folder / "memory")},
        "vsock_override": {"uds_path": str(clone.folder / "v.sock")},
        "resume_vm": True,
        "clock_realtime": True,
        "network_overrides": [{"iface_id": "eth0", "host_dev_name": tap}],
    }


async def test_boot_pause_snapshot_two_clones_and_the_end(
    frozen: PeerProcess, taps: list[str], tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"two".ljust(PAGE))
    with PeerProcess(tmp_path / "a").ready() as one, PeerProcess(tmp_path / "b").ready() as two:
        await asyncio.gather(load(frozen, one, tap=taps[1]), load(frozen, two, tap=taps[2]))
        two.done("PATCH", "/drives/1", {"drive_id": "1", "path_on_host": str(tmp_path / "other")})
        assert await as_twin(one, "first") == ("first", "one")
        assert await as_twin(two, "second") == ("second", "two")
        configuration = two.call("GET", "/vm/config")[1]
        assert [drive["path_on_host"] for drive in configuration["drives"]][1] == str(tmp_path / "other")
        assert configuration["network-interfaces"][0]["host_dev_name"] == taps[2]
        assert configuration["boot-source"]["kernel_image_path"] == ""
        two.done("PUT", "/actions", {"action_type": "SendCtrlAltDel"})
        assert two.ended() == 0
        one.process.terminate()
        assert one.ended() == -15


async def test_a_clone_may_wait_paused(frozen: PeerProcess, taps: list[str], tmp_path: Path) -> None:
    with PeerProcess(tmp_path / "a").ready() as clone:
        await load(frozen, clone, tap=taps[1], resume_vm=False)
        assert clone.call("GET", "/")[1]["state"] == "Paused"
        clone.done("PATCH", "/vm", {"state": "Resumed"})
        assert await as_twin(clone, "waited") == ("waited", "one")


@pytest.mark.parametrize("what", ["tap", "tap name", "vsock", "memory", "state", "version", "drive"])
async def test_a_load_that_fails_ends_the_process(
    frozen: PeerProcess, taps: list[str], tmp_path: Path, what: str
) -> None:
    state = bytearray((frozen.folder / "state").read_bytes())
    (tmp_path / "state").write_bytes(state[:-1] if what == "state" else state.replace(b'"9.0.0"', b'"8.0.0"'))
    (tmp_path / "memory").write_bytes(b"short")
    (tmp_path / "v.sock").touch()
    wrong: dict[str, dict[str, Any]] = {
        "tap": {"network_overrides": [{"iface_id": "eth0", "host_dev_name": "nonesuch-tap-name"}]},
        "tap name": {"network_overrides": [{"iface_id": "eth7", "host_dev_name": taps[1]}]},
        "vsock": {"vsock_override": {"uds_path": str(tmp_path / "v.sock")}},
        "memory": {"mem_backend": {"backend_type": "File", "backend_path": str(tmp_path / "memory")}},
        "state": {"snapshot_path": str(tmp_path / "state")},
        "version": {"snapshot_path": str(tmp_path / "state")},
        "drive": {},
    }
    if what == "drive":
        (frozen.folder / "second").rename(frozen.folder / "away")
    try:
        with PeerProcess(tmp_path / "a").ready() as clone:
            body = load_body(frozen, clone, tap=taps[1]) | wrong[what]
            assert clone.fault("PUT", "/snapshot/load", body).startswith("Load snapshot error: ")
            assert await asyncio.to_thread(clone.ended) == 1
    finally:
        if what == "drive":
            (frozen.folder / "away").rename(frozen.folder / "second")


async def test_a_silent_vsock_and_a_flood_of_logs_and_a_crash(
    frozen: PeerProcess, taps: list[str], tmp_path: Path
) -> None:
    with PeerProcess(
        tmp_path / "a", "--log-path", str(tmp_path / "log"), vsock_silent=True, flood_log=True
    ).ready() as clone:
        await load(frozen, clone, tap=taps[1])
        reader, writer = await asyncio.open_unix_connection(clone.folder / "v.sock")
        writer.write(b"CONNECT %d\n" % PORT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.5)
        writer.close()
        await writer.wait_closed()
        assert clone.call("GET", "/")[0] == 200
        await until(lambda: (tmp_path / "log").stat().st_size > 100_000)
    with PeerProcess(tmp_path / "b", exit_code=148, when={"after_start_s": 1.5}).ready() as clone:
        await load(frozen, clone, tap=taps[1])
        assert await asyncio.to_thread(clone.ended) == 148


async def test_a_guest_goes_on_after_its_snapshot_and_ends_by_a_reboot(frozen: PeerProcess) -> None:
    frozen.done("PATCH", "/vm", {"state": "Resumed"})
    async with agent(frozen, frozen.folder / "v.sock") as client:
        assert await prints(client, "echo", "on") == "on"
        frozen.done("PATCH", "/balloon", {"amount_mib": 64})
        await inflated(frozen, 64)
        assert frozen.call("GET", "/balloon/statistics")[1]["total_memory"] > 100 << 20
        await client.shutdown()
    assert await asyncio.to_thread(frozen.ended) == 0


async def test_without_boot_args_a_modular_kernel_does_not_come_up(image: Image, tmp_path: Path) -> None:
    with PeerProcess(tmp_path / "a").ready() as peer:
        peer.done(
            "PUT",
            "/boot-source",
            {"kernel_image_path": str(image.kernel), "initrd_path": str(image.initramfs)},
        )
        peer.done("PUT", "/actions", {"action_type": "InstanceStart"})
        assert await asyncio.to_thread(peer.ended) == 0


async def as_twin(clone: PeerProcess, name: str) -> tuple[str, str]:
    """Tell a clone who it is; returns the name and the second drive's content that its programs see.

    A connection that came before the guest knew of its new transport ends with the old ones, so
    there is another try.
    """
    for last in (False, False, True):
        async with agent(clone, clone.folder / "v.sock") as client:
            try:
                await client.start_resume(
                    entropy=os.urandom(64), unix_ns=1_800_000_000_000_000_000, hostname=name
                ).answer(PATIENCE_S)
            except GuestGone:
                assert not last
                continue
            told = await prints(client, "python3", "-c", "import socket; print(socket.gethostname())")
            return told, await prints(client, "head", "-c3", "/dev/vdb")
    raise AssertionError


async def inflated(peer: PeerProcess, amount_mib: int) -> None:
    """Wait until the guest has filled its balloon."""
    await until(lambda: peer.call("GET", "/balloon/statistics")[1]["actual_mib"] == amount_mib)


def snapshot_files(peer: PeerProcess) -> dict[str, str]:
    return {"snapshot_path": str(peer.folder / "state"), "mem_file_path": str(peer.folder / "memory")}

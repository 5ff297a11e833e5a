"""The rules of the peer's states over its real socket, without a guest."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.patience import PATIENCE_S
from tests.peers.binaries import system_python
from tests.peers.firecracker.configuration import Configuration
from tests.peers.firecracker.hardware import Wiring, arguments
from tests.unit.peers.firecracker_process import ROOT, Connection, PeerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = {"action_type": "InstanceStart"}
DRIVE = {"drive_id": "a", "is_root_device": False, "is_read_only": True}
POST_BOOT = [
    ("PATCH", "/vm", {"state": "Paused"}),
    ("PUT", "/snapshot/create", {"snapshot_path": "/s", "mem_file_path": "/m"}),
    ("PATCH", "/drives/a", {"drive_id": "a"}),
    ("PATCH", "/balloon", {"amount_mib": 1}),
    ("GET", "/balloon/statistics", None),
    ("PATCH", "/balloon/hinting/start", None),
    ("GET", "/hotplug/memory", None),
    ("PUT", "/actions", {"action_type": "FlushMetrics"}),
    ("PUT", "/actions", {"action_type": "SendCtrlAltDel"}),
]


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeerProcess]:
    """A process that is configured by many tests, and never started."""
    with PeerProcess(tmp_path_factory.mktemp("peer"), "--id", "some-vm").ready() as running:
        yield running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[PeerProcess]:
    """A process of one test."""
    with PeerProcess(tmp_path).ready() as running:
        yield running


def test_it_tells_who_it_is(peer: PeerProcess) -> None:
    told = {"id": "some-vm", "state": "Not started", "vmm_version": "1.16.1", "app_name": "Firecracker"}
    assert peer.call("GET", "/") == (200, told)
    assert peer.call("GET", "/version") == (200, {"firecracker_version": "1.16.1"})
    assert peer.call("GET", "/machine-config")[1]["mem_size_mib"] == 128


@pytest.mark.parametrize(("method", "path", "body"), POST_BOOT)
def test_what_needs_a_guest_is_refused_before_the_start(
    peer: PeerProcess, method: str, path: str, body: Any
) -> None:
    assert (
        peer.fault(method, path, body)
        == "The requested operation is not supported before starting the microVM."
    )


def test_starting_without_a_kernel_fails(fresh: PeerProcess) -> None:
    assert "without kernel configuration" in fresh.fault("PUT", "/actions", START)


def test_a_kernel_that_is_no_elf_file_does_not_start(fresh: PeerProcess, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"MZ")
    fresh.done("PUT", "/boot-source", {"kernel_image_path": str(tmp_path / "kernel")})
    assert "no ELF file" in fresh.fault("PUT", "/actions", START)
    assert fresh.call("GET", "/")[1]["state"] == "Not started"


def test_files_are_opened_as_they_are_named(peer: PeerProcess, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert "No such file" in peer.fault("PUT", "/boot-source", {"kernel_image_path": missing})
    assert "No such file" in peer.fault("PUT", "/drives/a", {**DRIVE, "path_on_host": missing})
    (tmp_path / "there").touch()
    assert "initrd" in peer.fault(
        "PUT", "/boot-source", {"kernel_image_path": str(tmp_path / "there"), "initrd_path": missing}
    )
    peer.done("PUT", "/drives/a", {**DRIVE, "path_on_host": str(tmp_path / "there")})
    assert "network device" in peer.fault(
        "PUT", "/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": "x" * 20}
    )


def test_without_boot_args_modules_are_forbidden(fresh: PeerProcess, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"\x7fELF")
    fresh.done("PUT", "/boot-source", {"kernel_image_path": str(tmp_path / "kernel")})
    assert fresh.call("GET", "/vm/config")[1]["boot-source"]["boot_args"] is None
    configuration = Configuration()
    configuration.put_boot_source({"kernel_image_path": str(tmp_path / "kernel")})
    wiring = Wiring(control=3, console=4, memory=5)
    assert "nomodule" in arguments("qemu", configuration, wiring, khz=None, processor="max")[-1].split()
    os.close(configuration.descriptors["kernel"])


def test_a_machine_that_makes_no_sense_is_refused(peer: PeerProcess) -> None:
    peer.done("PUT", "/machine-config", {"vcpu_count": 2, "mem_size_mib": 256})
    peer.done("PATCH", "/machine-config", {"mem_size_mib": 512})
    assert peer.call("GET", "/machine-config")[1]["vcpu_count"] == 2
    assert "memory size" in peer.fault("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 0})
    assert "vCPUs" in peer.fault(
        "PUT", "/machine-config", {"vcpu_count": 3, "mem_size_mib": 128, "smt": True}
    )
    assert "too large" in peer.fault("PUT", "/balloon", {"amount_mib": 1024, "deflate_on_oom": True})
    assert "lower than slot size" in peer.fault("PUT", "/hotplug/memory", {"total_size_mib": 100})
    assert "does not correspond" in peer.fault("PUT", "/mmds/config", {"network_interfaces": ["eth9"]})


def test_metadata_is_kept_merged_and_given(peer: PeerProcess) -> None:
    peer.done("PUT", "/mmds", {"a": {"b": 1, "c": 2}})
    peer.done("PATCH", "/mmds", {"a": {"b": None, "d": 3}})
    assert peer.call("GET", "/mmds") == (200, {"a": {"c": 2, "d": 3}})


def test_loading_is_for_fresh_processes(fresh: PeerProcess, tmp_path: Path) -> None:
    load = {"snapshot_path": "/s", "mem_backend": {"backend_type": "File", "backend_path": "/m"}}
    fresh.done("PUT", "/logger", {"log_path": str(tmp_path / "log")})
    fresh.done("PUT", "/metrics", {"metrics_path": str(tmp_path / "metrics")})
    assert "exclusively" in fresh.fault("PUT", "/snapshot/load", {**load, "mem_file_path": "/m"})
    fresh.done("PUT", "/entropy", {})
    assert "not allowed after configuring" in fresh.fault("PUT", "/snapshot/load", load)
    assert fresh.process.poll() is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"", "too short"),
        (b"\0" * 100, "Invalid magic"),
        (b'{"magic": "peer-of-firecracker"}\n', "Invalid magic"),
        (
            json.dumps(
                {"magic": "peer-of-firecracker", "snapshot_version": "8.0.0", "configuration": {}}
            ).encode(),
            "version",
        ),
    ],
)
def test_a_load_that_fails_is_told_and_ends_the_process(
    fresh: PeerProcess, tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        whole = content.replace(b"{}}", b'{}, "bytes": 0, "checksum": 0}')
        (tmp_path / "state").write_bytes(whole)
    backend = {"backend_type": "File", "backend_path": str(tmp_path / "memory")}
    told = fresh.fault(
        "PUT", "/snapshot/load", {"snapshot_path": str(tmp_path / "state"), "mem_backend": backend}
    )
    assert told.startswith("Load snapshot error: ")
    assert said in told
    assert fresh.ended() == 1


def test_bodies_have_a_bound(peer: PeerProcess) -> None:
    answer = raw(peer, b"PUT /mmds HTTP/1.1\r\nContent-Length: 51201\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"larger than the limit of 51200" in answer
    assert peer.call("PUT", "/mmds", {"a": "x" * 51_190})[0] == 204


def raw(peer: PeerProcess, request: bytes) -> bytes:
    """Send bytes; returns what comes until it is hung up."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(peer.socket))
        connection.sendall(request)
        text = b""
        while piece := connection.recv(4096):
            text += piece
    return text


@pytest.mark.parametrize(
    "request_",
    [b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"PUT /vm HTTP/1.1\r\nContent-Length: x\r\n\r\n"],
)
def test_what_is_not_http_is_refused_and_hung_up(peer: PeerProcess, request_: bytes) -> None:
    assert raw(peer, request_).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/vm", None),
        ("GET", "/", {}),
        ("PUT", "/vsock", None),
        ("PUT", "/nowhere", {}),
        ("PATCH", "/mmds", []),
    ],
)
def test_requests_that_do_not_fit_are_refused(peer: PeerProcess, method: str, path: str, body: Any) -> None:
    assert peer.fault(method, path, body)


def test_json_that_is_none_is_refused(peer: PeerProcess) -> None:
    with Connection(peer.socket) as connection:
        connection.request("PUT", "/mmds", "{")
        answer = connection.getresponse()
        assert answer.status == 400
        assert "deserializing" in answer.read().decode()


def test_a_connection_takes_many_requests_and_the_eleventh_is_refused(fresh: PeerProcess) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(fresh.socket)) for _ in range(10)]
        for connection in (*connections, *connections):
            assert connection.call("GET", "/version")[0] == 200
        eleventh = stack.enter_context(socket.socket(socket.AF_UNIX))
        eleventh.connect(str(fresh.socket))
        assert eleventh.recv(4096).startswith(b"HTTP/1.1 503 ")
    assert fresh.call("GET", "/version")[0] == 200


def test_an_older_release_refuses_a_field_and_goes_on(tmp_path: Path) -> None:
    with PeerProcess(tmp_path, unknown_fields=["clock_realtime"]).ready() as peer:
        load = {
            "snapshot_path": "/s",
            "mem_backend": {"backend_type": "File", "backend_path": "/m"},
            "clock_realtime": True,
        }
        assert "unknown field `clock_realtime`, expected one of" in peer.fault("PUT", "/snapshot/load", load)
        assert peer.call("GET", "/")[0] == 200


def test_one_slow_request_delays_all_others(tmp_path: Path) -> None:
    with (
        PeerProcess(tmp_path, delay_s={"PUT /entropy": 1.0}).ready() as peer,
        Connection(peer.socket) as slow,
    ):
        began = time.monotonic()
        slow.request("PUT", "/entropy", "{}")
        time.sleep(0.2)
        assert peer.call("GET", "/version")[0] == 200
        assert time.monotonic() - began > 0.9
        assert slow.getresponse().status == 204


def test_a_hanging_request_stops_all_others(tmp_path: Path) -> None:
    with PeerProcess(tmp_path, hang="PUT /entropy").ready() as peer, Connection(peer.socket) as hanging:
        hanging.request("PUT", "/entropy", "{}")
        time.sleep(0.2)
        with Connection(peer.socket, timeout_s=0.5) as other, pytest.raises(TimeoutError):
            other.call("GET", "/version")


def test_garbage_is_answered_when_asked_for(tmp_path: Path) -> None:
    with PeerProcess(tmp_path, garbage="GET /").ready() as peer, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(peer.socket))
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert not connection.recv(4096).startswith(b"HTTP/1.")


@pytest.mark.parametrize(("code", "ended"), [(148, 148), (-11, -11)])
def test_it_crashes_on_demand(tmp_path: Path, code: int, ended: int) -> None:
    with PeerProcess(tmp_path, exit_code=code, when="InstanceStart").ready() as peer:
        (tmp_path / "kernel").write_bytes(b"\x7fELF")
        peer.done("PUT", "/boot-source", {"kernel_image_path": str(tmp_path / "kernel")})
        with pytest.raises(ConnectionError):
            peer.call("PUT", "/actions", START)
        assert peer.ended() == ended


def test_the_socket_must_not_exist(tmp_path: Path) -> None:
    (tmp_path / "api.sock").touch()
    with PeerProcess(tmp_path) as peer:
        assert peer.ended() == 1
        assert "Failed to open the API socket" in peer.said()


@pytest.mark.parametrize(
    "words",
    [
        ("--nonsense",),
        ("nonsense",),
        ("--id",),
        ("--id", "a b"),
        ("--level", "loud"),
        ("--start-time-us", "x"),
        ("--id", "a", "--id", "b"),
    ],
)
def test_arguments_that_are_none_end_it(tmp_path: Path, words: tuple[str, ...]) -> None:
    with PeerProcess(tmp_path, *words) as peer:
        assert peer.ended() == 153


@pytest.mark.parametrize(
    ("word", "said"), [("--version", "Firecracker v1.16.1"), ("--snapshot-version", "v9.0.0")]
)
def test_versions(tmp_path: Path, word: str, said: str) -> None:
    with PeerProcess(tmp_path, word) as peer:
        assert peer.ended() == 0
        assert peer.said().split("\n")[0] == said


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, -15),
        (signal.SIGKILL, -9),
        (signal.SIGHUP, 156),
        (signal.SIGXCPU, 154),
        (signal.SIGSYS, 148),
    ],
)
def test_signals_end_it_with_their_codes(fresh: PeerProcess, number: int, code: int) -> None:
    fresh.process.send_signal(number)
    assert fresh.ended() == code


def test_log_and_metrics_never_wait_for_a_reader(tmp_path: Path) -> None:
    for name in ("log", "metrics"):
        os.mkfifo(tmp_path / name)
    paths = ("--log-path", str(tmp_path / "log"), "--metrics-path", str(tmp_path / "metrics"))
    with PeerProcess(tmp_path, *paths, "--level", "Debug").ready() as peer:
        for _ in range(700):  # more than a pipe holds
            assert peer.call("GET", "/version")[0] == 200
        assert "Reinitialization" in peer.fault("PUT", "/metrics", {"metrics_path": str(tmp_path / "other")})
        descriptor = os.open(tmp_path / "metrics", os.O_RDONLY | os.O_NONBLOCK)
        peer.process.send_signal(signal.SIGHUP)
        assert peer.ended() == 156
        line = json.loads(os.read(descriptor, 65_536))
        os.close(descriptor)
    assert line["get_api_requests"]["vmm_version_count"] == 700
    assert line["put_api_requests"] == {"count": 1, "fails": 1}
    assert line["logger"]["missed_log_count"] > 0


def test_an_unknown_behaviour_is_a_mistake(tmp_path: Path) -> None:
    with PeerProcess(tmp_path, nonsense=True) as peer:
        assert peer.ended() == 1
        assert "no behaviour nonsense" in peer.said()


def test_it_needs_the_standard_library_alone() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "import tests.peers.firecracker.main; print(*sys.modules)"
    )
    done = subprocess.run(
        [system_python(), "-I", "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert not [name for name in done.stdout.split() if name.split(".")[0] in ("emberbox", "httpx", "yaml")]

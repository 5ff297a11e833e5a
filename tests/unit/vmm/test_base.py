from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emberbox.config import VmmSettings
from emberbox.errors import InvalidInput
from emberbox.vmm.base import Drive, MachineSpec, NetworkAttachment
from emberbox.vmm.driver import DriverOptions
from emberbox.vmm.qemu.driver import QemuDriver
from emberbox.vmm.recorded import spec_from_json
from emberbox.vmm.registry import make_driver

SPEC = MachineSpec(
    id="a-1", run_dir=Path("/run/a"), vcpus=1, memory_mib=256, kernel=Path("/k"), initramfs=Path("/i")
)


@pytest.mark.parametrize(
    "change",
    [
        {"id": ""},
        {"id": "A"},
        {"id": "-a"},
        {"id": "a" * 64},
        {"id": "a/b"},
        {"id": "a,b"},
        {"id": "a\n"},
        {"vcpus": 0},
        {"vcpus": 33},
        {"memory_mib": 63},
        {"memory_mib": 65_537},
        {"console_bytes": 4095},
        {"drives": (Drive(path=Path("/d")),) * 5},
        {"kernel_args": ("a b",)},
        {"kernel_args": ("",)},
        {"kernel_args": ("a\x00",)},
    ],
)
def test_a_spec_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        replace(SPEC, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"tap": ""}, {"tap": "a" * 16}, {"tap": "a/b"}, {"tap": "a b"}, {"mac": "02:00"}, {"mac": "x,y"}],
)
def test_a_network_that_cannot_be_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        NetworkAttachment(**{"tap": "t0", "mac": "02:00:00:00:00:01", **change})  # type: ignore[arg-type]


def test_a_spec_survives_its_trip_through_json(tmp_path: Path) -> None:
    import json
    from dataclasses import asdict

    network = NetworkAttachment(tap="t0", mac="02:00:00:00:00:01", netns=Path("/run/netns/x"))
    spec = replace(
        SPEC, drives=(Drive(path=Path("/d"), read_only=False),), kernel_args=("a=1",), network=network
    )
    assert spec_from_json(json.loads(json.dumps(asdict(spec), default=str))) == spec
    assert spec_from_json(json.loads(json.dumps(asdict(SPEC), default=str))) == SPEC


def test_an_unknown_driver_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there are: auto, firecracker, qemu"):
        make_driver("xen", VmmSettings(), tmp_path)
    with pytest.raises(InvalidInput, match="kvm or tcg"):
        QemuDriver(tmp_path, DriverOptions(accelerator="hax"))
    assert make_driver("qemu", VmmSettings(), tmp_path).name == "qemu"

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from emberbox.vmm.base import Drive, MachineSpec, NetworkAttachment, Rates
from emberbox.vmm.process.confinement import Cell, Device, wrap
from emberbox.vmm.qemu.arguments import SANDBOX, Hardware, Wiring, arguments

SPEC = MachineSpec(
    id="abc-1",
    run_dir=Path("/run/abc-1"),
    vcpus=2,
    memory_mib=512,
    kernel=Path("/images/k"),
    initramfs=Path("/images/i"),
    drives=(Drive(path=Path("/images/r")), Drive(path=Path("/scratch"), read_only=False)),
    kernel_args=("own=1",),
)
TCG = Hardware(binary="/usr/bin/qemu-system-x86_64", accelerator="tcg", tsc_khz=2_600_000)
COLD = Wiring(control=10, channel=11, console=12, drives=(13, 14), kernel=15, initramfs=16)
CLONE = Wiring(control=10, channel=11, console=12, drives=(13, 14), memory=20)


def after(words: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(words) if name == option]


def test_no_host_path_is_ever_named() -> None:
    for wiring in (COLD, CLONE):
        text = " ".join(arguments(SPEC, TCG, wiring))
        for path in (SPEC.run_dir, SPEC.kernel, SPEC.initramfs, *(drive.path for drive in SPEC.drives)):
            assert str(path) not in text


def test_the_machine_waits_and_ends_at_a_reboot() -> None:
    words = arguments(SPEC, TCG, COLD)
    assert "-S" in words
    assert "-no-reboot" in words
    assert after(words, "-sandbox") == [SANDBOX]
    assert after(words, "-name") == ["guest=emberbox-abc-1"]


def test_a_clone_has_the_template_s_devices_but_no_kernel() -> None:
    template = arguments(SPEC, TCG, replace(COLD, memory=20, memory_shared=True))
    clone = arguments(SPEC, TCG, CLONE)
    for option in ("-machine", "-accel", "-cpu", "-smp", "-m", "-device", "-serial", "-blockdev"):
        assert after(clone, option) == after(template, option)
    assert after(clone, "-incoming") == ["defer"]
    assert not {"-kernel", "-initrd", "-append", "-S"} & set(clone)
    assert any("share=on" in value for value in after(template, "-object"))
    assert any("share=off" in value for value in after(clone, "-object"))


def test_drives_are_shared_only_for_reading() -> None:
    words = arguments(SPEC, TCG, COLD)
    files = [value for value in after(words, "-blockdev") if value.startswith("driver=file")]
    assert ["read-only=on" in value for value in files] == [True, False]
    assert len(after(words, "-device")) == 4


def test_each_drive_is_bounded_for_itself() -> None:
    free = arguments(SPEC, TCG, COLD)
    assert not any("throttle" in word for word in free)
    bounded = arguments(replace(SPEC, rates=Rates(disk_bytes_per_s=4_000_000, disk_ops_per_s=100)), TCG, COLD)
    groups = [json.loads(word) for word in after(bounded, "-object") if word.startswith("{")]
    assert [group["id"] for group in groups] == ["rate0", "rate1"]
    assert all(group["limits"] == {"bps-total": 4_000_000, "iops-total": 100} for group in groups)
    assert after(bounded, "-device") == after(free, "-device")
    throttled = [word for word in after(bounded, "-blockdev") if word.startswith("driver=throttle")]
    assert throttled == [
        "driver=throttle,node-name=drive0,throttle-group=rate0,file=raw0,read-only=on",
        "driver=throttle,node-name=drive1,throttle-group=rate1,file=raw1,read-only=off",
    ]


def test_a_bound_of_the_network_alone_changes_no_drive() -> None:
    assert arguments(replace(SPEC, rates=Rates(network_bytes_per_s=1000)), TCG, COLD) == arguments(
        SPEC, TCG, COLD
    )


def test_under_emulation_the_kernel_is_told_its_clock() -> None:
    (emulated,) = after(arguments(SPEC, TCG, COLD), "-append")
    assert "tsc_early_khz=2600000" in emulated.split()
    assert emulated.split()[-1] == "own=1"
    (real,) = after(arguments(SPEC, replace(TCG, accelerator="kvm", tsc_khz=None), COLD), "-append")
    assert "tsc" not in real


def test_without_a_network_there_is_no_network_device() -> None:
    assert not any("net" in word for word in arguments(SPEC, TCG, COLD)[1:])
    spec = replace(SPEC, network=NetworkAttachment(tap="t0", mac="02:00:00:00:00:01"))
    assert after(arguments(spec, TCG, replace(COLD, tap=30)), "-netdev") == ["tap,id=network,fd=30"]


def test_the_wrapper_takes_every_right_away() -> None:
    cell = Cell(root=Path("/jail"), uid=790_007)
    words = wrap(cell, ["/usr/bin/qemu", "-S"], 8, 9, as_root=True)
    assert words[-2:] == ["/usr/bin/qemu", "-S"]
    assert {
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--die-with-parent",
        "--clearenv",
    } <= set(words)
    assert after(words, "--ro-bind") == ["/jail"]
    assert after(words, "--reuid") == after(words, "--regid") == ["790007"]
    assert "--no-new-privs" in words
    assert "--unshare-user" not in words
    ordinary = wrap(cell, ["/usr/bin/qemu"], 8, 9, as_root=False)
    assert "--unshare-user" in ordinary
    assert "--reuid" not in ordinary
    assert "--cap-add" not in ordinary
    assert "--die-with-parent" not in wrap(replace(cell, die_with_parent=False), ["x"], 8, 9, as_root=True)


def test_a_device_comes_with_the_group_that_opens_it() -> None:
    def wrapped(*devices: Device, as_root: bool = True) -> list[str]:
        return wrap(Cell(root=Path("/jail"), uid=790_007, devices=devices), ["x"], 8, 9, as_root=as_root)

    own = Device(source=Path("/run/abc-1/kvm"), target=Path("/dev/kvm"))
    bound = wrapped(own)[wrapped(own).index("--dev-bind") :][:3]
    assert bound == ["--dev-bind", "/run/abc-1/kvm", "/dev/kvm"]
    assert "--clear-groups" in wrapped(own)
    grouped = wrapped(replace(own, group=106))
    assert after(grouped, "--groups") == ["106"]
    assert "--clear-groups" not in grouped, "it would take the group away again"
    assert "--groups" not in wrapped(replace(own, group=106), as_root=False), (
        "an ordinary user keeps its own groups"
    )

"""QEMU's command line for a configuration. Pure: descriptors in, arguments out.

A restored machine has the devices of the saved one in the same order; only kernel, initramfs and
arguments are left out, since the guest has them in its memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.peers.firecracker.configuration import DEFAULT_BOOT_ARGS, Configuration
from tests.peers.firecracker.faults import Fault

_MACHINE = "microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on,memory-backend=memory"
_MOST_DEVICES = 8
"""Of QEMU's microvm; Firecracker has room for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Numbers of the descriptors that QEMU inherits, and a path.

    Args:
        control: Connected socket for QMP.
        console: Connected socket for the serial console.
        memory: File with the guest's memory.
        vsock: Path of the socket at which the vsock's back-end waits; None without a vsock.
    """

    control: int
    console: int
    memory: int
    vsock: str | None = None


def arguments(
    qemu: str, configuration: Configuration, wiring: Wiring, *, khz: int | None, processor: str
) -> list[str]:
    """Return QEMU's arguments, its own path first. The machine waits for `cont`, or for a snapshot.

    Raises `Fault`.
    Without a boot source it is one to be restored.

    Args:
        qemu: Its path.
        configuration: The machine.
        wiring: Its ends.
        khz: Frequency of the time stamp counter that its kernel is told; None for nothing.
        processor: Its `-cpu`.
    """
    devices = _devices(configuration, wiring)
    if devices.count("-device") > _MOST_DEVICES:
        raise Fault("Cannot start microvm: too many devices for this peer.")
    size = f"{configuration.machine['mem_size_mib']}M"
    path = f"/proc/self/fd/{wiring.memory}"
    words = [
        qemu,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-action",
        "reboot=shutdown,shutdown=pause",
    ]
    words += ["-accel", "tcg,tb-size=64,thread=multi", "-cpu", processor, "-machine", _MACHINE]
    words += ["-smp", str(configuration.machine["vcpu_count"]), "-m", size]
    words += ["-object", f"memory-backend-file,id=memory,size={size},mem-path={path},share=on"]
    words += ["-chardev", f"socket,id=control,fd={wiring.control}", "-mon", "chardev=control,mode=control"]
    words += ["-chardev", f"socket,id=console,fd={wiring.console}", "-serial", "chardev:console"]
    return [
        *words,
        *devices,
        *(_kernel(configuration, khz) if configuration.boot_source else ["-incoming", "defer"]),
    ]


def kernel_arguments(boot_args: str, khz: int | None) -> str:
    """Return the kernel's arguments: those sent, and what only this hardware needs."""
    words = boot_args.split()
    if any(word.startswith("reboot=") for word in words):
        # There is no keyboard controller, at which the kernel would try for some seconds.
        # Firecracker ends at once.
        words.append("reboot=t")
    if khz is not None:
        words += [f"tsc_early_khz={khz}", "tsc=reliable"]
    return " ".join(words)


def _kernel(configuration: Configuration, khz: int | None) -> list[str]:
    source = configuration.boot_source or {}
    words = ["-S", "-kernel", f"/proc/self/fd/{configuration.descriptors['kernel']}"]
    if "initrd" in configuration.descriptors:
        words += ["-initrd", f"/proc/self/fd/{configuration.descriptors['initrd']}"]
    boot_args = source.get("boot_args", DEFAULT_BOOT_ARGS)
    for drive in configuration.drives.values():
        if drive["is_root_device"]:
            boot_args += f" root=/dev/vda {'ro' if drive['is_read_only'] else 'rw'}"
    return [*words, "-append", kernel_arguments(boot_args, khz)]


def _devices(configuration: Configuration, wiring: Wiring) -> list[str]:
    words: list[str] = []
    if configuration.balloon is not None:
        words += ["-device", _balloon(configuration.balloon)]
    for index, (name, drive) in enumerate(_root_first(configuration)):
        words += _drive(index, drive, configuration.descriptors[f"drive:{name}"])
    for index, (name, interface) in enumerate(configuration.interfaces.items()):
        mac = f",mac={interface['guest_mac']}" if "guest_mac" in interface else ""
        mtu = f",host_mtu={interface['mtu']}" if "mtu" in interface else ""
        words += ["-netdev", f"tap,id=net{index},fd={configuration.descriptors[f'tap:{name}']}"]
        words += ["-device", f"virtio-net-device,id=nic{index},netdev=net{index}{mac}{mtu}"]
    if wiring.vsock is not None:
        words += [
            "-chardev",
            f"socket,id=vsock,path={wiring.vsock}",
            "-device",
            "vhost-user-vsock-device,id=vsock0,chardev=vsock",
        ]
    if configuration.entropy is not None:
        words += ["-device", "virtio-rng-device,id=entropy0"]
    return words


def drive_index(configuration: Configuration, name: str) -> int:
    """Return the place of a drive among the guest's."""
    return [key for key, _ in _root_first(configuration)].index(name)


def _root_first(configuration: Configuration) -> list[tuple[str, dict[str, object]]]:
    return sorted(configuration.drives.items(), key=lambda pair: not pair[1]["is_root_device"])


def _drive(index: int, drive: dict[str, object], descriptor: int) -> list[str]:
    read_only = "on" if drive["is_read_only"] else "off"
    number = index + 1
    return [
        *("-add-fd", f"fd={descriptor},set={number}"),
        *(
            "-blockdev",
            f"driver=file,node-name=file{index},filename=/dev/fdset/{number},read-only={read_only},locking=off",
        ),
        *("-blockdev", f"driver=raw,node-name=drive{index},file=file{index},read-only={read_only}"),
        *("-device", f"virtio-blk-device,id=disk{index},drive=drive{index}"),
    ]


def _balloon(balloon: dict[str, object]) -> str:
    oom = "on" if balloon["deflate_on_oom"] else "off"
    reporting = "on" if balloon["free_page_reporting"] else "off"
    return f"virtio-balloon-device,id=balloon0,deflate-on-oom={oom},free-page-reporting={reporting}"

"""QEMU's command line for a machine. Pure: descriptors in, arguments out.

A clone must have the machine, processor, memory size and devices of its template, in the same
order; only `-kernel`, `-initrd` and `-append` are left out, because the guest has them in its
memory already (measured: 26 ms and 14 MB saved for each clone).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.vmm.kernel_line import kernel_line
from emberbox.vmm.qemu.apic import APIC_TIMER_HZ
from emberbox.vmm.qemu.processor import emulated_processor, host_processor
from emberbox.vmm.qemu.program import NAME, machine_name

if TYPE_CHECKING:
    from emberbox.vmm.base import MachineSpec, Rates

CHANNEL = "emberbox.0"
"""Name of the agent's virtio-serial port."""
PORT = "agent-port"
"""QEMU's own name of that port: only of a port with a name does it tell when the guest opens and
closes it."""
CHANNEL_BACKEND = "channel"
"""QEMU's own name of the socket behind it."""
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
TRANSLATION_MIB = 64
"""Size of TCG's cache of translated code. Memory is used as far as the cache is filled."""
KERNEL_ARGS = (
    "console=ttyS0",
    "quiet",
    "loglevel=1",
    "reboot=t",
    "panic=-1",
    "random.trust_cpu=on",
    "mitigations=off",
    "init_on_alloc=0",
    "audit=0",
)

_ITEMS = ("-d", "guest_errors,unimp")
_DEBUG = (
    "guest_cpu_reset",
    "handle_qmp_command",
    "migrate_set_state",
    "virtio_serial_handle_control_message*",
    "virtio_set_status",
)
_TRACE = ("loadvm_*", "monitor_*", "savevm_section_*", "virtio_notify", "virtio_queue_notify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the host gives a machine.

    Args:
        binary: QEMU's path as the process sees it.
        accelerator: `kvm` or `tcg`.
        architecture: `x86_64` or `aarch64`.
        tsc_khz: Frequency of the host's time stamp counter, in kHz; None where it is not needed.
        known_flags: Which of `FAST_STRING_FLAGS` this QEMU knows.
        vendor: Whose the host's processor is, as `processor_vendor` tells it.
    """

    binary: str
    accelerator: str
    architecture: str = "x86_64"
    tsc_khz: int | None = None
    known_flags: tuple[str, ...] = ()
    vendor: str = "GenuineIntel"

    @property
    def machine(self) -> str:
        """The machine type with its options."""
        if self.architecture == "aarch64":
            return (
                "virt,gic-version=3,acpi=off"
                if self.accelerator == "tcg"
                else "virt,gic-version=host,acpi=off"
            )
        # The timer and the interrupt controller of old are left out: with ACPI's reduced hardware
        # the kernel never uses them but to calibrate, which fails now and then on a busy host and
        # then hangs the boot. It is told the frequency instead. The clock chip stays: without it
        # the kernel waits two seconds for it.
        return "microvm,acpi=on,pit=off,pic=off,rtc=on,isa-serial=on"

    @property
    def processor(self) -> str:
        """The CPU model."""
        return (
            host_processor(self.vendor) if self.accelerator == "kvm" else emulated_processor(self.known_flags)
        )

    @property
    def acceleration(self) -> str:
        """The accelerator with its options."""
        return "kvm" if self.accelerator == "kvm" else f"tcg,tb-size={TRANSLATION_MIB},thread=multi"

    @property
    def timer_hz(self) -> float | None:
        """The frequency of the timer that an x86 kernel measures where it is emulated; None elsewhere."""
        return APIC_TIMER_HZ if (self.accelerator, self.architecture) == ("tcg", "x86_64") else None

    @property
    def kernel_args(self) -> tuple[str, ...]:
        """What the kernel must be told on this hardware."""
        if self.architecture == "aarch64":
            return ("console=ttyAMA0", *KERNEL_ARGS[1:])
        if self.accelerator == "tcg" and self.tsc_khz is not None:
            return (*KERNEL_ARGS, f"tsc_early_khz={self.tsc_khz}", "tsc=reliable")
        return KERNEL_ARGS


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Numbers of the descriptors that QEMU inherits.

    Args:
        control: Listening socket for QMP.
        channel: Listening socket for the agent's stream.
        console: The console log, open for appending.
        drives: One for each drive of the spec.
        kernel: The kernel; None for a clone.
        initramfs: The initramfs; None for a clone.
        memory: File with the guest's memory; None for memory of its own.
        memory_shared: Whether what the guest writes goes to that file (a template) or stays private
            (a clone).
        tap: The network device; None without a network.
        seccomp: False only in tests: leaves QEMU's own seccomp filter off.
    """

    control: int
    channel: int
    console: int
    drives: tuple[int, ...] = ()
    kernel: int | None = None
    initramfs: int | None = None
    memory: int | None = None
    memory_shared: bool = False
    tap: int | None = None
    seccomp: bool = True


def arguments(spec: MachineSpec, hardware: Hardware, wiring: Wiring) -> list[str]:
    """Return QEMU's arguments, its own path first. The machine does not run until it is told to by QMP.

    Args:
        spec: The machine.
        hardware: What it runs on.
        wiring: Descriptors. Without a kernel, QEMU waits for a snapshot.
    """
    words = [hardware.binary, NAME, machine_name(spec.id)]
    words += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    if wiring.seccomp:
        words += ["-sandbox", SANDBOX]
    words += _processor_and_memory(spec, hardware, wiring)
    words += _channels(wiring)
    words += _drives(spec, wiring)
    if spec.network is not None and wiring.tap is not None:
        words += ["-netdev", f"tap,id=network,fd={wiring.tap}"]
        words += ["-device", f"virtio-net-device,netdev=network,mac={spec.network.mac}"]
    return words + _start(spec, hardware, wiring)


def _processor_and_memory(spec: MachineSpec, hardware: Hardware, wiring: Wiring) -> list[str]:
    machine = hardware.machine
    words = [
        "-accel",
        hardware.acceleration,
        "-cpu",
        hardware.processor,
        "-smp",
        str(spec.vcpus),
        "-m",
        f"{spec.memory_mib}M",
    ]
    # Fewer helper threads than the control group allows, so that QEMU never fails to start one.
    words += ["-object", "main-loop,id=main-loop,thread-pool-min=0,thread-pool-max=8"]
    if wiring.memory is not None:
        machine += ",memory-backend=memory"
        share = "on" if wiring.memory_shared else "off"
        path = f"/proc/self/fd/{wiring.memory}"
        words += [
            "-object",
            f"memory-backend-file,id=memory,size={spec.memory_mib}M,mem-path={path},share={share}",
        ]
    return ["-machine", machine, *words]


def _channels(wiring: Wiring) -> list[str]:
    return [
        *(
            "-chardev",
            f"socket,id=control,fd={wiring.control},server=on,wait=off",
            "-mon",
            "chardev=control,mode=control",
        ),
        *("-add-fd", f"fd={wiring.console},set=1", "-chardev", "file,id=console,path=/dev/fdset/1,append=on"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id={CHANNEL_BACKEND},fd={wiring.channel},server=on,wait=off"),
        *("-device", "virtio-serial-device,max_ports=2"),
        *("-device", f"virtserialport,id={PORT},chardev={CHANNEL_BACKEND},name={CHANNEL}"),
    ]


def _drives(spec: MachineSpec, wiring: Wiring) -> list[str]:
    words: list[str] = []
    for index, (drive, descriptor) in enumerate(zip(spec.drives, wiring.drives, strict=True)):
        number = index + 2
        read_only = "on" if drive.read_only else "off"
        words += ["-add-fd", f"fd={descriptor},set={number}"]
        words += [
            "-blockdev",
            f"driver=file,node-name=file{index},filename=/dev/fdset/{number},read-only={read_only},locking=off,aio=threads",
        ]
        limits = _limits(spec.rates)
        raw = f"raw{index}" if limits else f"drive{index}"
        words += ["-blockdev", f"driver=raw,node-name={raw},file=file{index},read-only={read_only}"]
        if limits:
            group = {"qom-type": "throttle-group", "id": f"rate{index}", "limits": limits}
            throttle = f"driver=throttle,node-name=drive{index},throttle-group=rate{index},file={raw}"
            words += ["-object", json.dumps(group), "-blockdev", f"{throttle},read-only={read_only}"]
        words += ["-device", f"virtio-blk-device,drive=drive{index}"]
    return words


def _limits(rates: Rates) -> dict[str, int]:
    # For each drive a group of its own. The network's bound is not QEMU's to keep: what sends for
    # it is the host's TAP.
    bounds = {"bps-total": rates.disk_bytes_per_s, "iops-total": rates.disk_ops_per_s}
    return {name: value for name, value in bounds.items() if value is not None}


def _start(spec: MachineSpec, hardware: Hardware, wiring: Wiring) -> list[str]:
    if wiring.kernel is None:
        return ["-incoming", "defer"]
    words = ["-S", "-kernel", f"/proc/self/fd/{wiring.kernel}"]
    if wiring.initramfs is not None:
        words += ["-initrd", f"/proc/self/fd/{wiring.initramfs}"]
    return [
        *words,
        "-append",
        kernel_line((*hardware.kernel_args, *spec.kernel_args), talkative=spec.talkative),
    ]


def log_arguments(level: str) -> list[str]:
    """Return QEMU's arguments for one of `vmm.log_level`; none below `info`.

    QEMU has no levels: its messages always go to standard error. What can be added are log items
    (`-d`: what a guest does that no real machine allows, what QEMU does not emulate) and trace events
    (`-trace`), which go there as well. The file is bounded as the console's is, and what is beyond the
    bound is lost. Neither holds what a guest reads or writes.
    """
    if level not in ("info", "debug", "trace"):
        return []
    events = {"info": (), "debug": _DEBUG, "trace": (*_DEBUG, *_TRACE)}[level]
    return [*_ITEMS, *(word for event in events for word in ("-trace", event))]

"""Machines on KVM that start with a firmware of the tests' own.

Run as a program, this is one of them, as the user who runs it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import EmberboxError
from emberbox.tasks import UndoStack
from emberbox.vmm.base import Drive, MachineSpec
from emberbox.vmm.driver import DriverOptions
from emberbox.vmm.kvm.node import DEVICE
from emberbox.vmm.process.jail import jail_root
from emberbox.vmm.qemu import host as qemu_host
from emberbox.vmm.qemu import launch as launching
from emberbox.vmm.qemu.arguments import arguments
from emberbox.vmm.qemu.launch import ConfinedQemu, QemuHost
from emberbox.vmm.qemu.machine import QemuMachine
from emberbox.vmm.snapshots.memory_image import create_memory
from tests.e2e import firmware
from tests.e2e.vmm_guests import MARK

if TYPE_CHECKING:
    from emberbox.vmm.qemu.arguments import Hardware, Wiring

WAIT_S = 180.0
MEMORY_MIB = 64
_numbers = itertools.count(9500)
FIRMWARES = {"byte": firmware.one_byte(b"K"), "letters": firmware.letters()}
_LEFT_OUT = ("-kernel", "-initrd", "-append")


def with_firmware(spec: MachineSpec, hardware: Hardware, wiring: Wiring) -> list[str]:
    """Return the product's own arguments, but with the file that should be the kernel as the firmware."""
    words = arguments(spec, hardware, wiring)
    kept = [word for index, word in enumerate(words) if not {word, words[index - 1]} & set(_LEFT_OUT)]
    return [*kept, "-bios", str(spec.kernel)]


async def kvm_host(folder: Path, device: Path = DEVICE) -> QemuHost:
    """Find QEMU as its driver does when it is told to use KVM; its jail also holds the firmwares.

    Args:
        folder: Where its jail is made.
        device: KVM's node.
    """
    host, _ = await qemu_host.examine(folder, DriverOptions(accelerator="kvm"), confine=True, device=device)
    wanted = qemu_host.jail_files(host.binary, "kvm", host.hardware.architecture)
    files = tuple(_file(folder, name, image) for name, image in FIRMWARES.items())
    jail = jail_root(folder, replace(wanted, data=(*wanted.data, *files)))
    return replace(host, jail=jail)


def _file(folder: Path, name: str, image: bytes) -> Path:
    path = folder / name
    path.write_bytes(image)
    os.utime(path, ns=(0, 0))
    return path


def firmware_spec(host_folder: Path, folder: Path, name: str = "byte") -> MachineSpec:
    """Return the spec of a new machine with a run folder of its own, which starts with one of `FIRMWARES`."""
    number = next(_numbers)
    run_dir = folder / f"m{number}"
    run_dir.mkdir(mode=0o700)
    file = host_folder / name
    return MachineSpec(
        id=f"{MARK}-{number}",
        run_dir=run_dir,
        vcpus=1,
        memory_mib=MEMORY_MIB,
        kernel=file,
        initramfs=file,
        drives=(Drive(path=file),),
    )


async def boot(host: QemuHost, spec: MachineSpec, memory: Path | None = None) -> QemuMachine:
    """Start a machine as the driver does; `memory` makes it a template. `kill` ends it."""
    undo = UndoStack()
    descriptor = None
    try:
        if memory is not None:
            descriptor = create_memory(memory, spec.memory_mib * 1024 * 1024)
            undo.push_call(lambda: os.close(descriptor))
        launched = ConfinedQemu(host, spec, undo)
        await launched.launch(memory=descriptor)
        await launched.control.execute("cont", timeout_s=WAIT_S)
        return QemuMachine(launched, memory=memory)
    except BaseException:
        await undo.close()
        raise


async def said(machine: QemuMachine, least: int = 1) -> str:
    """Return what the machine wrote, once that is at least `least` bytes."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while asyncio.get_running_loop().time() < deadline:
        if len(machine.console()) >= least:
            return machine.console()
        await asyncio.sleep(0.02)
    raise TimeoutError(f"the machine wrote {machine.console()!r}")


def become(uid: int, groups: list[int]) -> None:
    """Turn into an ordinary user, who may not be able to read what this program is made of."""
    # What would be imported later is imported now.
    import concurrent.futures.thread  # noqa: F401
    import grp  # noqa: F401

    import qemu.qmp.qmp_client  # noqa: F401

    os.setgroups(groups)
    os.setgid(uid)
    os.setuid(uid)


async def main(folder: str, device: str) -> None:
    """Write, as JSON, what a machine wrote and what QEMU says of KVM, or the error's message."""
    vars(launching)["arguments"] = with_firmware
    try:
        host = await kvm_host(Path(folder), Path(device))
        machine = await boot(host, firmware_spec(Path(folder), Path(folder)))
    except EmberboxError as error:
        sys.stdout.write(json.dumps({"error": error.message}))
        return
    try:
        kvm: dict[str, Any] = await machine.control.execute("query-kvm", timeout_s=WAIT_S)
        sys.stdout.write(json.dumps({"kvm": kvm, "said": await said(machine)}))
    finally:
        await machine.kill()


if __name__ == "__main__":
    become(int(sys.argv[3]), [int(group) for group in sys.argv[4:]])
    asyncio.run(main(*sys.argv[1:3]))

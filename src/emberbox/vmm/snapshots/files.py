"""The files of a snapshot, and the record beside them by which a change of theirs is noticed."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from emberbox.errors import SnapshotFailed
from emberbox.files.descriptors import opened
from emberbox.vmm.snapshots.memory_image import full_digest, sample_digest

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.base import MachineSpec, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord:
    """What is written beside a snapshot, to notice that its files are not what they were.

    Args:
        memory_bytes: Length of the memory file.
        memory_mtime_ns: Its time of change.
        memory_sample: Hash of some of its pages.
        memory_sha256: Hash of all of it.
        state_sha256: Hash of the device state.
        vmm_version: What made it.
        tsc_khz: The time stamp counter's frequency that its kernel counts with; None where that
            does not matter.
        vcpus: Of the template.
        drives: Number of the template's drives.
        network: Whether the template has a network device.
    """

    memory_bytes: int
    memory_mtime_ns: int
    memory_sample: str
    memory_sha256: str
    state_sha256: str
    vmm_version: str
    tsc_khz: int | None
    vcpus: int
    drives: int
    network: bool

    def check_clone(self, spec: MachineSpec) -> None:
        """Raise `SnapshotFailed` unless `spec` has the template's shape."""
        given = (spec.memory_mib * 1024 * 1024, spec.vcpus, len(spec.drives), spec.network is not None)
        if given != (self.memory_bytes, self.vcpus, self.drives, self.network):
            raise SnapshotFailed("a clone must have its template's memory, vCPUs, drives and network device")


def record_path(state: Path) -> Path:
    """Return where the record of the snapshot with the device state `state` is."""
    return state.with_name(state.name + ".json")


def discard(state: Path) -> None:
    """Remove the device state and its record."""
    state.unlink(missing_ok=True)
    record_path(state).unlink(missing_ok=True)


def write_new(path: Path, data: bytes) -> None:
    """Write a file that does not exist yet, readable by its owner, through to the disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def record(snapshot: Snapshot, spec: MachineSpec, *, tsc_khz: int | None = None, mode: int = 0o400) -> None:
    """Close the memory file to changes and write the record of the snapshot. Blocks. Raises `OSError`.

    Args:
        snapshot: Its files, complete.
        spec: What the template was made from.
        tsc_khz: As in `SnapshotRecord`.
        mode: Of the memory file.
    """
    with opened(snapshot.memory, os.O_RDWR) as descriptor:
        if os.geteuid() == 0:
            os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
        status = os.fstat(descriptor)
        values = SnapshotRecord(
            memory_bytes=status.st_size,
            memory_mtime_ns=status.st_mtime_ns,
            memory_sample=sample_digest(descriptor),
            memory_sha256=full_digest(descriptor),
            state_sha256=hashlib.sha256(snapshot.state.read_bytes()).hexdigest(),
            vmm_version=snapshot.vmm_version,
            tsc_khz=tsc_khz,
            vcpus=spec.vcpus,
            drives=len(spec.drives),
            network=spec.network is not None,
        )
    write_new(record_path(snapshot.state), json.dumps(asdict(values)).encode())


def verify(snapshot: Snapshot) -> None:
    """Compare every byte of the snapshot with its record. Blocks (about 1 GB/s). Raises `SnapshotFailed`."""
    found, _ = checked(snapshot, snapshot.vmm_version)
    with opened(snapshot.memory, os.O_RDONLY) as descriptor:
        if full_digest(descriptor) != found.memory_sha256:
            raise SnapshotFailed(
                "the template's memory has changed; build it anew", detail=str(snapshot.memory)
            )


def checked(snapshot: Snapshot, vmm_version: str) -> tuple[SnapshotRecord, bytes]:
    """Check what can be checked quickly; returns the record and the device state. Raises `SnapshotFailed`.

    Args:
        snapshot: Its files.
        vmm_version: What would restore it.
    """
    try:
        found = SnapshotRecord(**json.loads(record_path(snapshot.state).read_text()))
        state = snapshot.state.read_bytes()
        with opened(snapshot.memory, os.O_RDONLY) as descriptor:
            status = os.fstat(descriptor)
            same = (
                (status.st_size, status.st_mtime_ns) == (found.memory_bytes, found.memory_mtime_ns)
                and sample_digest(descriptor) == found.memory_sample
                and hashlib.sha256(state).hexdigest() == found.state_sha256
            )
    except (OSError, ValueError, TypeError) as error:
        raise SnapshotFailed(
            "the snapshot is incomplete; build the template anew", detail=str(error)
        ) from error
    if not same:
        raise SnapshotFailed(
            "the snapshot's files have changed since they were made; build the template anew",
            detail=str(snapshot.memory),
        )
    if found.vmm_version != vmm_version or snapshot.vmm_version != vmm_version:
        raise SnapshotFailed(
            f"the snapshot is from {found.vmm_version}, this is {vmm_version}; build the template anew"
        )
    return found, state

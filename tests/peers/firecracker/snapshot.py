"""The two files of a snapshot: the guest's memory as it is, and a state file of this peer's own.

The state file is one line of JSON (magic, snapshot version, configuration, length and checksum of
the rest), then QEMU's device state.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from typing import Any

from tests.peers.firecracker.faults import Fault, spoken

_MAGIC = "peer-of-firecracker"
_LONGEST_HEADER = 1 << 20
_CREATE = "Create snapshot error: Cannot"
_SHORTEST = 8
"""A checksum of 64 bits stands at the end."""
_LOAD = "Failed to"
_UNREADABLE = f"{_LOAD} get snapshot state from file: Failed to load snapshot state from file"


def write_state(path: str, version: str, configuration: dict[str, Any], devices: bytes) -> None:
    """Write the state file. Raises `Fault`."""
    header = {
        "magic": _MAGIC,
        "snapshot_version": version,
        "configuration": configuration,
        "bytes": len(devices),
        "checksum": zlib.crc32(devices),
    }
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            file.write(json.dumps(header).encode() + b"\n" + devices)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise Fault(f"{_CREATE} perform open on the snapshot backing file: {spoken(error)}") from error


def read_state(path: str, version: str) -> tuple[dict[str, Any], bytes]:
    """Return the configuration and the device state.

    Raises `Fault` for a file that is missing, broken or of another version.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a path as it came
            line = file.readline(_LONGEST_HEADER)
            devices = file.read()
    except OSError as error:
        raise Fault(
            f"{_LOAD} get snapshot state from file: Failed to open snapshot file: {spoken(error)}"
        ) from error
    if len(line) + len(devices) < _SHORTEST:
        words = "get snapshot state from file: Failed to load snapshot state from file: IO Error"
        raise Fault(f"{_LOAD} {words}: File too short to contain CRC")
    try:
        header = json.loads(line)
        if header["magic"] != _MAGIC:
            raise ValueError("another magic")
        found, configuration = str(header["snapshot_version"]), dict(header["configuration"])
        whole = (header["bytes"], header["checksum"]) == (len(devices), zlib.crc32(devices))
    except (ValueError, KeyError, TypeError) as error:
        raise Fault(f"{_UNREADABLE}: Invalid magic value") from error
    if found != version:
        raise Fault(f"{_UNREADABLE}: Invalid format version: {found}")
    if not whole:
        raise Fault(f"{_UNREADABLE}: CRC64 validation failed")
    return configuration, devices


def write_memory(memory: int, path: str) -> None:
    """Copy the guest's memory to a file of the same size; what was never touched stays a hole. Blocks.

    Raises `Fault`.
    """
    try:
        target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(target, os.fstat(memory).st_size)
            _copy(memory, target)
            os.fsync(target)
        finally:
            os.close(target)
    except OSError as error:
        raise Fault(f"{_CREATE} write memory file: {spoken(error)}") from error


def read_memory(memory: int, path: str) -> None:
    """Fill the guest's memory from a file, which is left as it is. Blocks. Raises `Fault`."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(source).st_size != os.fstat(memory).st_size:
                raise Fault(
                    f"{_LOAD} load guest memory: Error creating guest memory from file: the file has "
                    "another size"
                )
            _copy(source, memory)
        finally:
            os.close(source)
    except OSError as error:
        raise Fault(
            f"{_LOAD} load guest memory: Error creating guest memory from file: {spoken(error)}"
        ) from error


def in_memory(data: bytes) -> int:
    """Return a file in memory that holds `data`, at its start."""
    descriptor = os.memfd_create("state", os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _copy(source: int, target: int) -> None:
    end = 0
    while True:
        try:
            start = os.lseek(source, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(source, start, os.SEEK_HOLE)
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            sent = os.sendfile(target, source, start, end - start)
            if not sent:
                raise OSError(errno.EIO, "the file became shorter")
            start += sent

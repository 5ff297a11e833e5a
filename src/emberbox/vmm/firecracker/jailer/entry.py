"""The program that enters a jailed Firecracker: it drops the last inheritable capabilities.

The jailer needs rights of root, and the kernel offers two sets from which a program of root's takes
them (capabilities(7)): the bounding set, which only a right that the jailer gives up could empty
later, and the inheritable set, which anybody may empty. So the jailer is started with an empty
bounding set and takes its rights from the inheritable one. What it becomes in the jail, without
rights by then, is this program, which empties that one as well and becomes Firecracker.

It must run where there is nothing else, so it is a static ELF file of some 250 bytes, made here:
two system calls, and an exit with 126 where one of them fails.
"""

from __future__ import annotations

import platform
import struct
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing
from emberbox.files.atomic import write_file

if TYPE_CHECKING:
    from pathlib import Path

NAME = "firecracker"
"""The jailer wants this in the name of what it runs, and makes a folder of it."""
PROGRAM = "/program/firecracker"
"""Where Firecracker itself is in the jail."""
FAILED = 126
"""Exit code when it cannot become Firecracker."""

_LOADED_AT = 0x400000
_HEADERS = 64 + 56
_EXECUTABLE, _LOAD, _READ_AND_RUN = 2, 1, 5
_MACHINES = {"x86_64": 62, "aarch64": 183}
_CAPABILITIES = struct.pack("<Ii", 0x20080522, 0) + bytes(24)
"""capset(2): version 3, this process; nothing effective, permitted or inheritable."""


def entry_program(machine: str) -> bytes:
    """Return the program for a machine, named as by `platform.machine`.

    Raises `RequirementMissing` where there is none.
    """
    if machine not in _MACHINES:
        raise RequirementMissing(f"Firecracker does not run on {machine} processors")
    data = _CAPABILITIES + PROGRAM.encode() + b"\0"
    code = _x86_64() if machine == "x86_64" else _aarch64()
    size = _HEADERS + len(code) + len(data)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        _EXECUTABLE,
        _MACHINES[machine],
        1,
        _LOADED_AT + _HEADERS,
        64,
        0,
        0,
        64,
        56,
        1,
        0,
        0,
        0,
    )
    load = struct.pack("<IIQQQQQQ", _LOAD, _READ_AND_RUN, 0, _LOADED_AT, _LOADED_AT, size, size, 0x10000)
    return header + load + code + data


def write_entry(folder: Path) -> Path:
    """Write the program for this host to `folder`, which is made, unless it is there; returns its path.

    Whole or not at all, and safe when several processes do it at once. Raises `OSError`.
    """
    path = folder / NAME
    wanted = entry_program(platform.machine())
    if path.is_file() and path.read_bytes() == wanted and path.stat().st_mode & 0o777 == 0o755:
        return path
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_file(path, wanted, mode=0o755)
    return path


def _x86_64() -> bytes:
    """Return the instructions; behind them lie the header and the data for capset, then the path."""
    code = b""
    size = 72

    def behind(opcode: bytes, offset: int) -> bytes:
        return opcode + struct.pack("<i", size + offset - (len(code) + len(opcode) + 4))

    code += b"\xb8\x7e\x00\x00\x00"  # mov eax, 126 (capset)
    code += behind(b"\x48\x8d\x3d", 0)  # lea rdi, [header]
    code += behind(b"\x48\x8d\x35", 8)  # lea rsi, [data]
    code += b"\x0f\x05"  # syscall
    code += b"\x85\xc0"  # test eax, eax
    code += b"\x75\x1c"  # jnz failed
    code += b"\x48\x8b\x0c\x24"  # mov rcx, [rsp] (argc)
    code += b"\x48\x8d\x74\x24\x08"  # lea rsi, [rsp + 8] (argv)
    code += b"\x48\x8d\x54\xce\x08"  # lea rdx, [rsi + rcx * 8 + 8] (envp)
    code += behind(b"\x48\x8d\x3d", len(_CAPABILITIES))  # lea rdi, [path]
    code += b"\xb8\x3b\x00\x00\x00"  # mov eax, 59 (execve)
    code += b"\x0f\x05"  # syscall
    code += b"\xbf\x7e\x00\x00\x00"  # failed: mov edi, 126
    code += b"\xb8\x3c\x00\x00\x00"  # mov eax, 60 (exit)
    code += b"\x0f\x05"  # syscall
    return code.ljust(size, b"\xcc")


def _aarch64() -> bytes:
    """Return the same for aarch64, where each instruction has four bytes."""
    size = 15

    def address(place: int, register: int, offset: int) -> int:
        distance = (size - place) * 4 + offset
        return 0x10000000 | (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5 | register

    code = (
        0xD2800B68,  # mov x8, 91 (capset)
        address(1, 0, 0),  # adr x0, header
        address(2, 1, 8),  # adr x1, data
        0xD4000001,  # svc 0
        0x35000000 | (12 - 4) << 5,  # cbnz w0, failed
        0xF94003E9,  # ldr x9, [sp] (argc)
        0x910023E1,  # add x1, sp, 8 (argv)
        0x8B090C22,  # add x2, x1, x9, lsl 3
        0x91002042,  # add x2, x2, 8 (envp)
        address(9, 0, len(_CAPABILITIES)),  # adr x0, path
        0xD2801BA8,  # mov x8, 221 (execve)
        0xD4000001,  # svc 0
        0xD2800FC0,  # failed: mov x0, 126
        0xD2800BA8,  # mov x8, 93 (exit)
        0xD4000001,  # svc 0
    )
    return struct.pack(f"<{size}I", *code)

"""Reads what the kernel says about processes' memory: /proc/PID/smaps and smaps_rollup (proc(5)).

Sizes are in KiB.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = re.compile(r"[0-9a-f]+-[0-9a-f]+ (?P<rights>\S{4}) \S+ \S+ \S+ *(?P<path>.*)")
_VALUE = re.compile(r"(?P<name>\w+): +(?P<kib>\d+) kB")


@dataclass(slots=True)
class Mapping:
    """One mapping: its rights (`rw-p`), what it maps (empty when anonymous), and its values."""

    rights: str
    path: str
    values: dict[str, int]


def parse(text: str) -> Iterator[Mapping]:
    """Go through the mappings of an smaps or smaps_rollup file."""
    current: Mapping | None = None
    for line in text.splitlines():
        if (value := _VALUE.match(line)) is not None and current is not None:
            current.values[value["name"]] = int(value["kib"])
        elif (header := _HEADER.match(line)) is not None:
            if current is not None:
                yield current
            current = Mapping(header["rights"], header["path"], {})
    if current is not None:
        yield current


def rollup(pid: int) -> dict[str, int]:
    """Return the sums over all mappings of a process. Raises `OSError`."""
    return next(parse(Path(f"/proc/{pid}/smaps_rollup").read_text())).values


def dirty_by_kind(pid: int, guest_memory_kib: int) -> dict[str, int]:
    """Return a process's private dirty memory by what it holds. Raises `OSError`."""
    kinds: dict[str, int] = {}
    wrapper = "qemu" not in command_name(pid)
    for mapping in parse(Path(f"/proc/{pid}/smaps").read_text()):
        kind = "confinement processes" if wrapper else kind_of(mapping, guest_memory_kib)
        kinds[kind] = kinds.get(kind, 0) + mapping.values.get("Private_Dirty", 0)
    return {kind: size for kind, size in kinds.items() if size}


def kind_of(mapping: Mapping, guest_memory_kib: int) -> str:
    """Tell what a VMM's mapping holds.

    Args:
        mapping: From `parse`.
        guest_memory_kib: The guest's memory; a mapping of just that size is it.
    """
    if mapping.values.get("Size") == guest_memory_kib:
        return "guest memory"
    if "x" in mapping.rights and (not mapping.path or "tcg-jit" in mapping.path):
        return "translation buffer"
    if mapping.path in ("", "[heap]", "[stack]") or mapping.path.startswith("[anon"):
        return "VMM heap and stacks"
    if "firmware" in mapping.path or ".bin" in mapping.path:
        return "firmware"
    return "VMM program and libraries"


def family(pid: int) -> list[int]:
    """Return a VMM's process and those between it and this process: its wrappers, the outermost first."""
    chain = [pid]
    while (parent := _parent(chain[0])) not in (0, 1, os.getpid()):
        chain.insert(0, parent)
    return chain if _parent(chain[0]) == os.getpid() or len(chain) == 1 else [pid]


def command_name(pid: int) -> str:
    """Return the name of a process's command; at most 15 characters."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def _parent(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    return int(stat[stat.rindex(")") + 2 :].split()[1])

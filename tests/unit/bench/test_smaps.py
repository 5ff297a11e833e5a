"""The kernel's account of memory, read and sorted."""

from __future__ import annotations

import os
import subprocess
import sys

from emberbox.bench.smaps import command_name, dirty_by_kind, family, kind_of, parse, rollup

TEXT = """\
7f0000000000-7f0010000000 rw-p 00000000 fe:00 1234                       /data/templates/x/memory
Size:             262144 kB
Rss:               50000 kB
Private_Dirty:     20000 kB
VmFlags: rd wr mr mw me ac sd
7f0020000000-7f0060000000 rwxp 00000000 00:00 0 
Size:            1048576 kB
Private_Dirty:      4000 kB
558000000000-558000100000 rw-p 00000000 00:00 0                          [heap]
Size:               1024 kB
Private_Dirty:       900 kB
7f0070000000-7f0070100000 rw-p 00100000 fe:00 99                         /usr/bin/qemu-system-x86_64
Size:               1024 kB
Private_Dirty:       300 kB
"""  # noqa: W291  the kernel's own text


def test_mappings_are_parsed_and_sorted_by_what_they_hold() -> None:
    mappings = list(parse(TEXT))
    assert [kind_of(mapping, 262_144) for mapping in mappings] == [
        "guest memory",
        "translation buffer",
        "VMM heap and stacks",
        "VMM program and libraries",
    ]
    assert [mapping.values["Private_Dirty"] for mapping in mappings] == [20000, 4000, 900, 300]
    assert mappings[1].path == ""


def test_a_live_process_adds_up() -> None:
    held = "x = bytearray(b'1' * 20_000_000); print(flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        sums = rollup(process.pid)
        assert sums["Private_Dirty"] > 19_000
        assert sums["Pss"] >= sums["Private_Dirty"]
        kinds = dirty_by_kind(process.pid, 0)
        assert set(kinds) == {"confinement processes"}
        assert abs(sum(kinds.values()) - sums["Private_Dirty"]) < 200
        assert family(process.pid) == [process.pid]
    finally:
        process.kill()
        process.communicate()


def test_wrappers_belong_to_the_family() -> None:
    process = subprocess.Popen(["/bin/sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE)
    inner = 0
    try:
        assert process.stdout is not None
        inner = int(process.stdout.readline())
        assert family(inner) == [process.pid, inner]
        assert command_name(process.pid) == "sh"
    finally:
        if inner:
            os.kill(inner, 9)
        process.kill()
        process.communicate()

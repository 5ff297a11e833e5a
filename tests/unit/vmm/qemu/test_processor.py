"""The emulated processor on QEMUs of different age, and on the one that is here."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from emberbox.errors import RequirementMissing
from emberbox.vmm import remembered as remembering
from emberbox.vmm.qemu import host
from emberbox.vmm.qemu.arguments import Hardware
from emberbox.vmm.qemu.processor import (
    FAST_STRING_FLAGS,
    emulated_processor,
    known_flags,
    listed_flags,
    processor_vendor,
)
from tests.patience import PATIENCE_S

HELP = """Available CPUs:
x86 fsrm-named-model      (alias)
x86 max                   Enables all features supported by the accelerator in the current host

Recognized CPUID flags:
  3dnow 3dnowext abm ace2 {flags}
  fxsr fxsr-opt
"""
QEMU = shutil.which("qemu-system-x86_64")
needs_qemu = pytest.mark.skipif(QEMU is None, reason="no qemu-system-x86_64 here")


@pytest.mark.parametrize(
    ("flags", "processor"),
    [
        ("erms fsgsbase fsrm", "max,-erms,-fsrm"),
        ("erms fred fsgsbase fsrc fsrm fsrs fzrm", "max,-erms,-fsrm,-fzrm,-fsrs,-fsrc"),
        ("erms", "max,-erms"),
        ("", "max"),
    ],
)
def test_all_that_promises_fast_strings_is_left_out_where_qemu_knows_it(flags: str, processor: str) -> None:
    assert emulated_processor(listed_flags(HELP.format(flags=flags))) == processor


def test_other_processors_have_no_such_flags() -> None:
    assert emulated_processor(listed_flags("Available CPUs:\n  cortex-a72\n  max\n")) == "max"


def test_a_template_of_another_processor_has_another_key() -> None:
    # The version that a template's key is made from names the processor; so it is the processor's
    # definition that must differ.
    made = {
        Hardware(binary="qemu", accelerator="tcg", known_flags=flags).processor
        for flags in ((), ("erms",), ("erms", "fsrm"), FAST_STRING_FLAGS)
    }
    assert len(made) == 4
    assert Hardware(binary="qemu", accelerator="kvm", known_flags=FAST_STRING_FLAGS).processor == "host"


def test_a_qemu_that_does_not_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RequirementMissing, match="does not run on this host"):
        known_flags(tmp_path / "qemu")


def test_what_an_older_version_remembered_is_asked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, cache = tmp_path / "qemu", tmp_path / "qemu.json"
    program.write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(remembering, "FORM", remembering.FORM - 1)
        remembering.remembered(cache, program, lambda: {"version": "7.2", "tsc_khz": 1})
    monkeypatch.setattr(host, "_look_at", lambda _: {"version": "7.2", "tsc_khz": 1, "known_flags": ["erms"]})
    assert "known_flags" in remembering.remembered(cache, program, lambda: host._look_at(program))


@needs_qemu
def test_the_processor_here_promises_no_fast_strings() -> None:
    binary = Path(str(QEMU))
    known = known_flags(binary)
    assert "erms" in known
    properties = processor_properties(binary, emulated_processor(known))
    assert {flag: properties[flag] for flag in known} == dict.fromkeys(known, False)


def processor_properties(binary: Path, processor: str) -> dict[str, Any]:
    """Start a machine that does not run and return what its processor has of `FAST_STRING_FLAGS`."""
    asked = [{"execute": "qmp_capabilities"}, {"execute": "query-cpus-fast"}]
    first = talk(binary, processor, asked)
    path = first[-1]["return"][0]["qom-path"]
    flags = known_flags(binary)
    gets = [{"execute": "qom-get", "arguments": {"path": path, "property": flag}} for flag in flags]
    answers = talk(binary, processor, [asked[0], *gets])
    return dict(zip(flags, [answer["return"] for answer in answers[-len(gets) :]], strict=True))


def talk(binary: Path, processor: str, commands: list[dict[str, Any]]) -> list[dict[str, Any]]:
    words = [
        str(binary),
        "-accel",
        "tcg",
        "-machine",
        "microvm",
        "-cpu",
        processor,
        "-nodefaults",
        "-display",
        "none",
        "-S",
    ]
    lines = "".join(f"{json.dumps(command)}\n" for command in [*commands, {"execute": "quit"}])
    done = subprocess.run(
        [*words, "-qmp", "stdio"], input=lines, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    answers = [
        answer
        for answer in map(json.loads, done.stdout.splitlines())
        if "return" in answer or "error" in answer
    ]
    return answers[:-1]


@pytest.mark.parametrize(
    ("vendor", "processor"),
    [
        ("GenuineIntel", "host"),
        ("AuthenticAMD", "host,-arch-capabilities"),
        ("HygonGenuine", "host,-arch-capabilities"),
        ("", "host"),
    ],
)
def test_a_guest_on_amd_s_processors_has_no_register_of_intel_s(
    tmp_path: Path, vendor: str, processor: str
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: 25\n\nprocessor\t: 1\n")
    assert processor_vendor(cpuinfo) == vendor
    hardware = Hardware(binary="qemu", accelerator="kvm", vendor=processor_vendor(cpuinfo))
    assert hardware.processor == processor
    assert processor_vendor(tmp_path / "none") == ""

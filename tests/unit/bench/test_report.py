"""The JSON's shape, the tables, and the files."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from rich.console import Console

import emberbox.bench
from emberbox.bench.options import BenchOptions
from emberbox.bench.report import print_report
from emberbox.bench.session import Session
from emberbox.config import Settings

from .fakes import some_findings
from .test_targets import GOOD

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from emberbox.bench.findings import Findings

FIELDS = {
    "schema",
    "taken_at",
    "duration_s",
    "quick",
    "host",
    "latencies",
    "ratios",
    "throughput",
    "memory",
    "burst",
    "breakdown",
    "service",
    "skipped",
    "targets",
}


def test_the_json_has_its_fields_and_survives_json() -> None:
    values = some_findings(GOOD).to_dict()
    assert json.loads(json.dumps(values)) == values
    assert set(values) == FIELDS
    assert values["schema"] == 1
    assert values["latencies"]["clone"]["samples"] == [119.0, 120.0, 121.0]
    assert values["ratios"]["clone / cold boot (b/a)"] == 0.06
    assert values["throughput"]["median"] == 13.0
    assert values["memory"]["pss"]["maximum"] == 41.0
    assert values["burst"]["succeeded"] == 50
    assert values["targets"][0] == {
        "name": "b: clone ÷ cold boot",
        "measured": 0.06,
        "bound": 0.1,
        "unit": "",
        "at_least": False,
        "met": True,
    }


def test_the_json_has_all_fields_when_nothing_was_measured() -> None:
    values = some_findings({}, whole=False).to_dict()
    assert set(values) == FIELDS
    assert (values["throughput"], values["memory"], values["burst"]) == (None, None, None)
    assert values["service"] == dict.fromkeys(("service", "stream", "drain", "submit", "followers", "idle"))


def test_the_table_says_what_is_met_and_what_is_not() -> None:
    stream = io.StringIO()
    print_report(some_findings(GOOD), Console(file=stream, width=160, markup=False))
    lines = stream.getvalue().splitlines()
    assert any("label of clone" in line and "120" in line for line in lines)
    assert any(
        "clone ÷ cold boot" in line and line.rstrip().endswith("met") and "NOT" not in line for line in lines
    )
    assert any("largest idle sandbox" in line and "NOT MET" in line for line in lines)
    assert any("drain: no time was left" in line for line in lines)


def test_all_about_the_service_is_in_the_report() -> None:
    stream = io.StringIO()
    print_report(some_findings(GOOD), Console(file=stream, width=200, markup=False))
    lines = stream.getvalue().splitlines()
    for letter, figure in (
        ("k", "9.9 ms"),
        ("m", "6.30 (6.0–7.0 in 2 windows of 10 s)"),
        ("o", "200 of 200"),
        ("p", "97.0, 80.0"),
    ):
        assert any(line.startswith(f"{letter}  ") and figure in line for line in lines), letter
    assert any(line.startswith("n  submitted a second") and "300, 300–300; 1.00 ms" in line for line in lines)
    assert any(
        "a script that is new each time" in line and line.rstrip().endswith("11.9 ms") for line in lines
    )
    assert any(line.startswith("l  program's write") and "4.9" in line for line in lines)


def test_json_is_all_that_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def measured(self: Session[Findings]) -> Findings:
        self._say("progress")
        return some_findings(GOOD)

    monkeypatch.setattr(Session, "run", measured)
    options = BenchOptions(settings=Settings())
    assert emberbox.bench.run(options, json=True) == 0
    printed = capsys.readouterr()
    assert set(json.loads(printed.out)) == FIELDS
    assert printed.err == ""
    folder = tmp_path / "a" / "b"
    assert emberbox.bench.run(options, output=folder) == 0
    assert capsys.readouterr().err == "progress\n"
    assert json.loads((folder / "latest.json").read_text())["latencies"]["pool"]["summary"]["n"] == 3


def test_what_was_not_asked_for_is_no_target() -> None:
    findings = some_findings({})
    every = len(findings.targets)
    assert any(target.met is None for target in findings.targets)
    findings.selected = True
    assert all(target.met is not None for target in findings.targets)
    assert 0 < len(findings.targets) < every

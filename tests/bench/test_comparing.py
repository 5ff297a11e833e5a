"""Emberbox beside what it is compared to: targets, the JSON, the page, the files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from bench.comparators.processes import HostProcess
from bench.comparing import COMPARATORS, run
from bench.findings import Compared
from bench.languages.findings import LanguageFindings
from bench.options import ComparedOptions
from bench.reports.markdown import markdown, write_report

from emberbox.bench.samplers.base import Unavailable
from emberbox.bench.session import Session
from emberbox.config import Settings
from emberbox.errors import UnknownRuntime
from tests.unit.bench.fakes import filled
from tests.unit.bench.test_report import FIELDS
from tests.unit.bench.test_targets import GOOD as OWN

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {**OWN, "gvisor": 240.0, "gvisor_lean": 200.0}


def compared(medians: dict[str, float]) -> Compared:
    return filled(Compared, medians)


def measured_targets(medians: dict[str, float]) -> dict[str, float | None]:
    return {target.name: target.measured for target in compared(medians).targets}


@pytest.mark.parametrize(("gvisor", "faster"), [(300.0, 200.0), (100.0, 100.0)])
def test_gvisor_counts_by_its_faster_row(gvisor: float, faster: float) -> None:
    measured = measured_targets({**GOOD, "gvisor": gvisor})
    assert measured["b: clone ÷ gVisor"] == pytest.approx(120 / faster)
    assert measured["c: pool ÷ gVisor"] == pytest.approx(14 / faster)


@pytest.mark.parametrize(
    ("name", "value", "broken"),
    [("clone", 141.0, "b: clone ÷ gVisor"), ("gvisor_lean", 139.0, "c: pool ÷ gVisor")],
)
def test_a_target_that_is_just_missed_is_not_met(name: str, value: float, broken: str) -> None:
    assert next(one for one in compared(GOOD).targets if one.name == broken).met is True
    assert next(one for one in compared({**GOOD, name: value}).targets if one.name == broken).met is False


def test_without_gvisor_its_targets_are_neither_met_nor_missed() -> None:
    assert measured_targets(OWN)["b: clone ÷ gVisor"] is None


def test_targets_stand_in_the_order_of_their_letters() -> None:
    letters = [target.name[0] for target in compared(GOOD).targets]
    assert letters == sorted(letters)


def test_the_json_has_all_of_emberbox_and_the_rest() -> None:
    findings = compared(GOOD)
    findings.languages = LanguageFindings()
    values = findings.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert set(values) == FIELDS | {"languages"}
    assert values["languages"] == {"languages": [], "disk": None}
    assert values["ratios"]["clone / gVisor (b/d)"] == 0.6
    assert values["ratios"]["clone / cold boot (b/a)"] == 0.06


def test_rows_have_their_letters() -> None:
    lines = markdown(compared(GOOD)).splitlines()
    assert any(line.startswith("| d | label of gvisor_lean |") for line in lines)
    assert any(line.startswith("| b | label of clone |") for line in lines)


def test_failures_are_told_with_their_reason() -> None:
    findings = compared(GOOD)
    assert findings.burst is not None
    assert "failed" not in markdown(findings)
    findings.burst.failures.extend(["the disk is full", "gone"])
    assert "| failed, the first: the disk is full | 2 |" in markdown(findings)


def test_markdown_rows_have_as_many_cells_as_their_columns() -> None:
    text = markdown(compared(GOOD))
    assert "Some \\| CPU" in text
    width = None
    for line in text.splitlines():
        cells = line.replace("\\|", "").count("|") if line.startswith("|") else None
        assert cells is None or width is None or cells == width
        width = cells


def test_files_are_written_whole_and_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    write_report(compared({}), folder)
    write_report(compared(GOOD), folder)
    assert sorted(file.name for file in folder.iterdir()) == ["latest.json", "latest.md"]
    assert json.loads((folder / "latest.json").read_text())["latencies"]["pool"]["summary"]["n"] == 3


def test_all_can_be_chosen_and_every_comparator_has_a_measurement() -> None:
    assert "".join(ComparedOptions.measurements) == "abcdefghijklmnopq"
    assert {name for name, _ in COMPARATORS} <= ComparedOptions().chosen
    assert ComparedOptions(only=("d,q",)).chosen == {"gvisor", "languages"}


async def test_what_is_not_installed_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="not installed"):
        await HostProcess("x", "x", ("no-such-wrapper-here",)).open()


def test_a_run_writes_its_files_and_prints_json_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    async def measured(self: Session[Compared]) -> Compared:
        return compared(GOOD)

    monkeypatch.setattr(Session, "run", measured)
    options = ComparedOptions(settings=Settings(data=tmp_path / "data"), only=("b",))
    assert run(options, json=True, output=tmp_path / "results") == 0
    assert "languages" in json.loads(capsys.readouterr().out)
    assert sorted(file.name for file in (tmp_path / "results").iterdir()) == ["latest.json", "latest.md"]
    assert run(options, json=False, output=tmp_path / "results") == 0
    assert capsys.readouterr().out.endswith("results/latest.json and latest.md\n")


def test_a_language_that_is_none_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    options = ComparedOptions(settings=Settings(data=tmp_path), languages=("klingon",))
    with pytest.raises(UnknownRuntime):
        run(options, json=True, output=tmp_path)

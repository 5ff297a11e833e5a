"""The frame of `make attack`: its rows, its verdicts, its table and its report."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.attack.__main__ import PAGE
from tests.attack.page import BEGIN, END, NEVER, report, results_in, table, with_table
from tests.attack.recording import read
from tests.attack.rows import GROUPS, Row, matches, node_of, rows_by_group
from tests.attack.verdicts import Judged, Outcome, Verdict, judge
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

TESTS = Path(__file__).parents[2]
ROWS = rows_by_group()
ROW = Row(name="bomb", tried="it grows", holds="it is held", tests=("a.py::test_x", "a.py::test_y[in"))
CONTROLLED = Row(name="c", tried="t", holds="h", tests=("a.py::test_x",), control=("a.py::test_free",))


def outcome(test: str, what: str = "passed") -> Outcome:
    return Outcome(test=test, outcome=what, seconds=1.25, told="", figures={})


@pytest.mark.parametrize("row", [row for rows in ROWS.values() for row in rows], ids=lambda row: row.name)
def test_every_test_of_a_row_exists(row: Row) -> None:
    assert row.tests
    for test in (*row.tests, *row.control):
        file, _, name = test.partition("[")[0].partition("::")
        assert re.search(rf"def {name}\(", (TESTS / file).read_text()), f"{file} has no {name}"


def test_every_row_can_stand_in_a_table() -> None:
    for row in [row for rows in ROWS.values() for row in rows]:
        assert all(text and "|" not in text and "\n" not in text for text in (row.name, row.tried, row.holds))


def test_the_page_has_the_rows_and_none_fell() -> None:
    page = PAGE.read_text()
    results = results_in(page)
    assert with_table(page, table(ROWS, results)) == page, "python -m tests.attack --table"
    assert set(results.values()) <= {Verdict.HELD, NEVER}


@pytest.mark.parametrize(
    ("ran", "verdict"),
    [
        (["a.py::test_x", "a.py::test_y[in-1]", "a.py::test_y[out]"], Verdict.HELD),
        (["a.py::test_x[1]", "a.py::test_x[2]", "a.py::test_y[in]"], Verdict.HELD),
        (["a.py::test_x", "a.py::test_y[out]"], Verdict.NOT_TRIED),
        (["a.py::test_x", "a.py::test_xy", "b.py::test_y[in]"], Verdict.NOT_TRIED),
        ([], Verdict.NOT_TRIED),
    ],
)
def test_a_row_holds_where_each_of_its_tests_ran(ran: Sequence[str], verdict: Verdict) -> None:
    assert judge(ROW, map(outcome, ran)).verdict is verdict


@pytest.mark.parametrize(
    ("attack", "control", "verdict"),
    [
        ("passed", "passed", Verdict.HELD),
        ("failed", "passed", Verdict.FELL),
        ("failed", "failed", Verdict.FELL),
        ("passed", "failed", Verdict.PROVES_NOTHING),
        ("passed", "skipped", Verdict.NOT_TRIED),
        ("skipped", "passed", Verdict.NOT_TRIED),
    ],
)
def test_a_control_that_fails_takes_the_proof_away(attack: str, control: str, verdict: Verdict) -> None:
    ran = [outcome("a.py::test_x", attack), outcome("a.py::test_free", control)]
    assert judge(CONTROLLED, ran).verdict is verdict


def test_one_failed_parameter_fells_a_row_and_a_skipped_one_does_not() -> None:
    others = [outcome("a.py::test_free"), outcome("a.py::test_x[1]")]
    assert judge(CONTROLLED, [*others, outcome("a.py::test_x[2]", "skipped")]).verdict is Verdict.HELD
    assert judge(CONTROLLED, [*others, outcome("a.py::test_x[2]", "failed")]).verdict is Verdict.FELL


def test_names_of_tests() -> None:
    assert matches("a.py::test_x[1]", "a.py::test_x") and matches("a.py::test_x", "a.py::test_x")
    assert not matches("a.py::test_xy", "a.py::test_x")
    assert matches("a.py::test_x[in-a]", "a.py::test_x[in") and not matches(
        "a.py::test_x[un-a]", "a.py::test_x[in"
    )
    assert node_of("a.py::test_x[in") == "tests/a.py::test_x"


def test_a_table_keeps_the_results_of_rows_that_were_not_tried() -> None:
    page = f"before\n{BEGIN}\n{END}\nafter\n"
    first = with_table(page, table({"guests": [ROW]}, {"bomb": "held"}))
    assert first.startswith("before\n") and first.endswith("after\n")
    assert results_in(first) == {"bomb": "held"}
    second = with_table(first, table({"guests": [ROW, CONTROLLED]}, results_in(first)))
    assert results_in(second) == {"bomb": "held", "c": NEVER}
    assert "| c | t | h | not tried yet | it succeeds |\n" in second
    assert with_table(second, table({"guests": [ROW, CONTROLLED]}, results_in(second))) == second
    with pytest.raises(ValueError, match="lacks"):
        with_table("no marks", "")


def test_the_report_tells_figures_and_reasons() -> None:
    failed = Outcome(test="a.py::test_x", outcome="failed", seconds=2, told="E\nit grew", figures={"MiB": 9})
    text = report(
        {"guests": [Judged(row=ROW, verdict=Verdict.FELL, tests=(failed,), control=())]}, {"root": "no"}
    )
    assert f"## {GROUPS['guests']}" in text and "### bomb: fell" in text and "- root: no" in text
    assert "- `a.py::test_x` failed in 2.0 s, MiB 9: it grew\n" in text


def test_what_became_of_tests_is_written_down_by_pytest_itself(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/some.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_x(n, record_property): record_property('MiB', n); assert n == 1, 'too much'\n"
        "@pytest.fixture\ndef broken(): raise OSError('no room')\n"
        "def test_y(broken): pass\n"
        "def test_z(): pytest.skip('not here')\n"
    )
    results = tmp_path / "results"
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", str(tmp_path)]
    command += ["-p", "tests.attack.recording", f"--attack-results={results}", "tests/some.py"]
    subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": f"{TESTS.parent}/src:{TESTS.parent}", "PATH": ""},
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    found = {one.test: one for one in read(results)}
    assert {name: one.outcome for name, one in found.items()} == {
        "some.py::test_x[1]": "passed",
        "some.py::test_x[2]": "failed",
        "some.py::test_y": "failed",
        "some.py::test_z": "skipped",
    }
    assert found["some.py::test_x[1]"].figures == {"MiB": 1}
    assert "too much" in found["some.py::test_x[2]"].told and "no room" in found["some.py::test_y"].told
    assert "not here" in found["some.py::test_z"].told

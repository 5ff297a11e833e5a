"""Tries the rows, writes SECURITY.md's table, and the report under .cache/attack.

python -m tests.attack              all of them
python -m tests.attack guests       one group; the others keep their results
python -m tests.attack --table      only the table: rows that are new were not tried yet
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.attack.page import report, results_in, table, with_table
from tests.attack.recording import read
from tests.attack.rows import node_of, rows_by_group
from tests.attack.verdicts import Outcome, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.attack.rows import Row

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "SECURITY.md"
CACHE = ROOT / ".cache/attack"
LIMIT_S = 28 * 60.0
"""All groups together."""
_ENDING_S = 60.0


def main(words: Sequence[str]) -> int:
    """Try groups of rows, all of them where none is named; return the exit code."""
    groups = rows_by_group()
    chosen = [word for word in words if word != "--table"] or list(groups)
    if unknown := set(chosen) - groups.keys():
        print(f"there is no group {', '.join(sorted(unknown))}; there are {', '.join(groups)}")
        return 2
    results = results_in(PAGE.read_text(encoding="utf-8"))
    failed = False
    if "--table" not in words:
        deadline = time.monotonic() + LIMIT_S
        judged = {}
        for group in chosen:
            ran = try_rows(group, groups[group], deadline)
            failed = failed or not ran.whole
            judged[group] = [judge(row, ran.outcomes) for row in groups[group]]
        for one in (one for rows in judged.values() for one in rows):
            print(f"{one.verdict.value.strip('*'):15} {one.row.name}")
            failed = failed or one.verdict in {Verdict.FELL, Verdict.PROVES_NOTHING}
            # What this host cannot try was tried elsewhere.
            if one.verdict is not Verdict.NOT_TRIED:
                results[one.row.name] = one.verdict.value
        plain = {group: [asdict(one) for one in rows] for group, rows in judged.items()}
        (CACHE / "report.json").write_text(json.dumps({"about": about(), "rows": plain}, indent=1))
        (CACHE / "report.md").write_text(report(judged, about()), encoding="utf-8")
        print(f"the figures: {CACHE.relative_to(ROOT)}/report.md")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), table(groups, results)), encoding="utf-8")
    return 1 if failed else 0


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a group's tests, and whether all of them could be run to their end."""

    outcomes: list[Outcome]
    whole: bool


def try_rows(group: str, rows: Sequence[Row], deadline: float) -> Ran:
    """Run the tests of a group's rows in a pytest of its own.

    Those that the deadline (by `time.monotonic`) leaves no time for have no outcome.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    results = CACHE / f"{group}.jsonl"
    results.unlink(missing_ok=True)
    nodes = dict.fromkeys(node_of(test) for row in rows for test in (*row.tests, *row.control))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.attack.recording"]
    command += [f"--attack-results={results}", *nodes]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as running:
        try:
            running.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"{group}: not done within the {LIMIT_S / 60:.0f} minutes of all attacks")
            end(running)
        except BaseException:
            end(running)
            raise
    # By 0 and 1 pytest says that it ran what it was told to.
    return Ran(read(results), running.returncode in {0, 1})


def end(running: subprocess.Popen[bytes]) -> None:
    """End a pytest and all that it has started."""
    os.killpg(running.pid, signal.SIGINT)
    try:
        running.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)


def about() -> dict[str, str]:
    """Return what a report says of its run."""
    return {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "host": f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}",
        "root": "yes" if os.geteuid() == 0 else "no",
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

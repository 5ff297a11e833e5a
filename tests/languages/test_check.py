"""Every language passes what `emberbox runtimes check` checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.languages.checking import RuntimeCheck
from emberbox.languages.timings import Plan
from tests.languages.conftest import thorough

if TYPE_CHECKING:
    from emberbox import Engine


EACH = Plan(cold=1, clones=2, pooled=2, compiles=1)
"""What is measured here: each kind comes about, and no more; `make bench` is for figures."""


async def test_nothing_is_wrong(language: str, language_engine: Engine) -> None:
    quick, runtime = not thorough(), language_engine.runtimes.get(language)
    report = await RuntimeCheck(language_engine, runtime, quick=quick, plan=None if quick else EACH).run()
    assert report.ok, "\n" + "\n".join(
        f"{check.name}: {check.found}\n  to mend it: {check.mend}" for check in report.wrong
    )
    assert {check.name for check in report.checks} >= {
        "hello",
        "program",
        "compile error",
        "runtime error",
        "nothing left",
        "times",
    }
    assert report.times.clone.samples

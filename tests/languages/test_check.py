"""Every language passes what `emberbox runtimes check` checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.languages.checking import RuntimeCheck
from tests.languages.conftest import thorough

if TYPE_CHECKING:
    from emberbox import Engine


async def test_nothing_is_wrong(language: str, language_engine: Engine) -> None:
    report = await RuntimeCheck(
        language_engine, language_engine.runtimes.get(language), quick=not thorough()
    ).run()
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

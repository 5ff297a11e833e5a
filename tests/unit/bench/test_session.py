"""A run measures what was chosen, and goes on after what cannot be measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from emberbox.bench import session
from emberbox.bench.findings import Findings
from emberbox.bench.options import BenchOptions
from emberbox.bench.samplers.base import BenchError
from emberbox.bench.session import Session
from emberbox.config import Settings
from tests.unit.bench.fakes import FakeSampler, some_findings
from tests.unit.bench.test_targets import GOOD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest


class FakeEngine:
    driver = None

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    async def __aenter__(self) -> FakeEngine:
        return self

    async def __aexit__(self, *error: object) -> None:
        return None

    async def template(self, runtime: str) -> None:
        return None


def measuring(found: object) -> Callable[..., Any]:
    async def measure(*given: object, **named: object) -> object:
        if isinstance(found, Exception):
            raise found
        return found

    return measure


async def test_what_was_chosen_is_measured_and_kept_where_it_belongs(monkeypatch: pytest.MonkeyPatch) -> None:
    known, said = some_findings(GOOD), list[str]()
    monkeypatch.setattr(session, "Engine", FakeEngine)
    monkeypatch.setattr(session, "measure_breakdown", measuring(known.latencies))
    monkeypatch.setattr(session, "measure_memory", measuring(known.memory))
    monkeypatch.setattr(session, "measure_burst", measuring(BenchError("no VM came")))
    monkeypatch.setattr("emberbox.bench.session.measure_idle", measuring(known.service.idle))
    monkeypatch.setattr("emberbox.bench.session.measure_drain", measuring(TimeoutError()))
    options = BenchOptions(quick=True, only=("g,h,j,m,p",), settings=Settings())
    findings = await Session(options, said.append, Findings).run()
    assert (findings.steps, findings.memory, findings.service.idle) == (
        known.latencies,
        known.memory,
        known.service.idle,
    )
    assert (findings.burst, findings.service.drain, findings.throughput) == (None, None, None)
    assert findings.skipped == {"burst": "no VM came", "drain": "took too long"}
    assert "measuring idle" in said and "measuring throughput" not in said
    assert findings.quick and findings.selected


async def test_further_latencies_are_taken_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    class Options(BenchOptions):
        measurements: ClassVar[Mapping[str, str]] = {"x": "other", "y": "another"}

    monkeypatch.setattr(session, "Engine", FakeEngine)
    beside = [(name, lambda name=name: FakeSampler(name, [5.0], [])) for name in ("other", "another")]
    options = Options(quick=True, only=("other",), settings=Settings())
    findings = await Session(options, lambda line: None, Findings, beside).run()
    assert findings.medians == {"other": 5.0}

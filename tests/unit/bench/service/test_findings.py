"""The service's targets, and what is worked out from samples."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.bench.samplers.base import BenchError
from emberbox.bench.service.added import STAGES, greeted, stages_of
from emberbox.bench.service.drain import rates_while_full
from emberbox.bench.service.findings import ServiceFindings
from emberbox.bench.service.followers import LAST, Reader
from emberbox.bench.service.stream import Exchange, evaluate
from tests.unit.bench.fakes import some_rate, some_service, some_service_time


def broken(findings: ServiceFindings) -> list[str]:
    return [target.name[:1] for target in findings.targets if target.met is False]


def test_each_target_of_the_service_can_be_missed_alone() -> None:
    assert broken(some_service()) == []
    service = some_service()
    service.service = some_service_time(engine=5.0, request=15.1)
    assert broken(service) == ["k"]
    service = some_service()
    service.stream = evaluate([Exchange(sent=10.0, written=107.0, logged=10.0, received=10.0102)])
    assert broken(service) == ["l"]
    service = some_service()
    assert service.drain is not None
    service.drain = replace(service.drain, rate=6.29)
    assert broken(service) == ["m"]
    service.drain = replace(service.drain, rate=6.3, rss=[100.0, 110.1])
    assert broken(service) == ["m"]
    service = some_service()
    assert service.submit is not None
    service.submit = replace(service.submit, waiting=some_rate(299.0))
    assert broken(service) == ["n"]
    service.submit = replace(
        service.submit, waiting=some_rate(300.0), running=replace(some_rate(1.0), stored=899)
    )
    assert broken(service) == ["n"]
    service = some_service()
    assert service.followers is not None
    service.followers = replace(service.followers, complete=199)
    assert broken(service) == ["o"]
    service = some_service()
    assert service.idle is not None
    service.idle = replace(service.idle, used=replace(service.idle.used, rss=120.1))
    assert broken(service) == ["p"]


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {target.met for target in ServiceFindings().targets} == {None}


def test_a_drain_beside_an_engine_that_did_nothing_has_no_share() -> None:
    drain = some_service().drain
    assert drain is not None
    assert replace(drain, engine_windows=[0.0]).share is None


DELAYS = st.floats(min_value=0.0001, max_value=0.5)


@given(
    offset=st.floats(min_value=-5, max_value=5),
    delays=st.lists(st.tuples(DELAYS, DELAYS), min_size=1, max_size=20),
)
def test_the_true_delay_lies_within_the_uncertainty(offset: float, delays: list[tuple[float, float]]) -> None:
    exchanges = []
    for number, (there, back) in enumerate(delays):
        sent = 1000.0 + number
        exchanges.append(Exchange(sent, sent + there + offset, sent + there + back, sent + there + back))
    found = evaluate(exchanges)
    for (_, back), delay_ms in zip(delays, found.delay.samples, strict=True):
        assert abs(delay_ms - back * 1000) <= found.uncertainty_ms + 0.001
    shortest = min(there for there, _ in delays) + min(back for _, back in delays)
    assert found.uncertainty_ms == pytest.approx(shortest * 500, abs=0.001)


def test_a_clock_that_was_set_meanwhile_is_noticed() -> None:
    exchanges = [
        Exchange(sent=10.0, written=20.0, logged=10.0, received=10.01),
        Exchange(11.0, 23.0, 11.0, 11.01),
    ]
    with pytest.raises(BenchError, match="drifted"):
        evaluate(exchanges)


def test_the_stages_of_a_request_are_all_of_it() -> None:
    times = {
        "created_at": "2026-01-01T00:00:00.002Z",
        "claimed_at": "2026-01-01T00:00:00.005Z",
        "started_at": "2026-01-01T00:00:00.006Z",
        "ended_at": "2026-01-01T00:00:00.040Z",
    }
    stages = stages_of(times, 1767225600.0, 50.0)
    assert list(stages) == list(STAGES)
    assert list(stages.values()) == pytest.approx([2.0, 3.0, 1.0, 34.0, 10.0], abs=0.01)


def test_only_a_hello_that_went_well_counts() -> None:
    job = {"status": "succeeded", "stdout": "hello world\n", "stderr": "", "message": None}
    assert greeted(job) is job
    for wrong in ({"status": "failed"}, {"stdout": "hello"}):
        with pytest.raises(BenchError):
            greeted({**job, **wrong})


def test_a_drain_is_counted_only_while_jobs_wait() -> None:
    ends = [10.5, 11.5, 12.0, 12.5, 13.9, 14.0, 14.1]
    claims = [14.0, 9.0, 10.0, 11.0, 12.0, 13.0, 13.5]
    rate, windows = rates_while_full(claims, ends, places=2, window_s=1.0)
    assert rate == pytest.approx(
        4 / 3
    )  # not the first second with both places taken, and none behind the last claim
    assert windows == [1.0, 2.0, 1.0]


def test_a_drain_that_is_over_at_once_says_nothing() -> None:
    with pytest.raises(BenchError, match="too few"):
        rates_while_full([10.0], [10.5], places=4, window_s=1.0)


def test_a_reader_puts_pieces_together_and_knows_the_end() -> None:
    stream = (
        b"retry: 1000\n\n"
        b'event: output\nid: 1.9\ndata: {"stream":"stdout","time":"x","data":"one\\n"}\n\n'
        b": heartbeat\n\n"
        b'event: output\nid: 1.20\ndata: {"stream":"stdout","time":"x","data":"'
        + LAST.encode()
        + b'\\n"}\n\n'
    )
    end = b'event: end\nid: end\ndata: {"stdout":"one"}\n\n'
    whole, pieces, short = Reader(), Reader(), Reader()
    whole.take(stream + end)
    for byte in stream + end:
        pieces.take(bytes([byte]))
    short.take(stream)
    assert whole.digest == pieces.digest == short.digest
    assert whole.received == len(f"one\n{LAST}\n")
    assert (whole.ended, pieces.ended, short.ended) == (True, True, False)
    assert None not in (whole.first_at, whole.last_at, short.last_at)

"""The service's tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.bench.statistics import percentile
from emberbox.bench.table import Table, failures_row, latencies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.bench.service.added import ServiceTime
    from emberbox.bench.service.drain import Drain
    from emberbox.bench.service.findings import ServiceFindings
    from emberbox.bench.service.followers import Following
    from emberbox.bench.service.idle import Idle
    from emberbox.bench.service.submit import Submission

Rows = list[tuple[str, str]]


def service_tables(findings: ServiceFindings) -> list[Table]:
    """Return the tables of what was found about the service, in the order in which they are read."""
    service, stream, submit = findings.service, findings.stream, findings.submit
    times = [
        *(("k", series) for series in (service.rows if service else ())),
        *(("k", series) for series in ([service.cpu] if service else ())),
        *(("l", series) for series in (stream.rows if stream else ())),
        *(("n", rate.latency) for rate in (submit.rates.values() if submit else ())),
        *(("p", series) for series in ([findings.idle.starts] if findings.idle else ())),
    ]
    return [
        latencies("The service, ms", times),
        latencies(
            "Inside one request through the service, ms",
            [("k", series) for series in (service.stages if service else ())],
        ),
        Table(title="All of the service", columns=("", "value"), rows=_whole(findings)),
    ]


def _whole(findings: ServiceFindings) -> Rows:
    return [
        *(_added(findings.service) if findings.service is not None else ()),
        *(_drain(findings.drain) if findings.drain is not None else ()),
        *(_submit(findings.submit) if findings.submit is not None else ()),
        *(_followers(findings.followers) if findings.followers is not None else ()),
        *(_idle(findings.idle) if findings.idle is not None else ()),
    ]


def _added(service: ServiceTime) -> Rows:
    if service.added_ms is None or service.plain_ms is None:
        return []
    what = "k  added by the service, p50: difference of the medians without the program's time"
    fresh = "—" if service.added_fresh_ms is None else f"{service.added_fresh_ms:.1f} ms"
    return [
        (what, f"{service.added_ms:.1f} ms"),
        ("   the same with a script that is new each time", fresh),
        ("   plain difference of the medians", f"{service.plain_ms:.1f} ms"),
    ]


def _drain(drain: Drain) -> Rows:
    rows = [
        (
            f"m  {drain.jobs} waiting jobs, worked off in a second",
            f"{drain.rate:.2f} ({_spread(drain.windows, drain.window_s)})",
        ),
        (
            f"   the engine alone, also {drain.concurrency} at once",
            f"{drain.engine_rate:.2f} ({_spread(drain.engine_windows, drain.window_s)})",
        ),
        ("   the service's part of it", "—" if drain.share is None else f"{drain.share:.1%}"),
        (
            "   the service's memory, RSS: start, most, end",
            f"{drain.rss[0]:.1f}, {max(drain.rss):.1f}, {drain.rss[-1]:.1f} MiB",
        ),
        (
            "   processor time a job: service, engine alone",
            f"{drain.cpu_ms:.1f}, {drain.engine_cpu_ms:.1f} ms",
        ),
    ]
    return rows + failures_row(drain.failures)


def _submit(submit: Submission) -> Rows:
    rows: Rows = []
    for name, rate in submit.rates.items():
        spread = f", {min(rate.windows):.0f}–{max(rate.windows):.0f}" if len(rate.windows) > 1 else ""
        cpu = f"{rate.cpu_ms:.2f} ms of processor each, client {rate.client_cpu_ms:.2f}"
        letter = "n" if name == "waiting" else " "
        rows.append((f"{letter}  submitted a second: {rate.label}", f"{rate.median:.0f}{spread}; {cpu}"))
    accepted = sum(rate.accepted for rate in submit.rates.values())
    return [*rows, ("   accepted, and of those missing in the database", f"{accepted}, {submit.missing}")]


def _followers(following: Following) -> Rows:
    rows = [
        (
            f"o  followers of one log that got all {following.output_bytes} bytes of it",
            f"{following.complete} of {following.followers}",
        )
    ]
    if following.last_ms:
        p50 = percentile(following.last_ms, 50)
        rows.append(
            (
                "   last line, behind the first of them: p50, max",
                f"{p50:.1f}, {max(following.last_ms):.1f} ms",
            )
        )
    memory = f"{following.rss_before:.1f}, {following.rss_maximum:.1f}, {following.rss_after:.1f} MiB"
    rows.append(("   the service's memory, RSS: before, most, behind", memory))
    rows.append(("   its processor time", f"{following.cpu_ms:.0f} ms in {following.wall_s:.1f} s"))
    return rows + failures_row(following.failures)


def _idle(idle: Idle) -> Rows:
    return [
        (
            f"p  memory of a service idle for {idle.idle_s:g} s: RSS, PSS",
            f"{idle.fresh.rss:.1f}, {idle.fresh.pss:.1f} MiB",
        ),
        (f"   behind {idle.jobs} jobs", f"{idle.used.rss:.1f}, {idle.used.pss:.1f} MiB"),
    ]


def _spread(windows: Sequence[float], window_s: float) -> str:
    if not windows:
        return "no window"
    return f"{min(windows):.1f}–{max(windows):.1f} in {len(windows)} windows of {window_s:g} s"

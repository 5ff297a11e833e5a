"""What the service counts and measures, for Prometheus.

Each `Telemetry` has a registry of its own. Labels have bounded sets of values: routes are templates
and never paths, methods and error codes are those known, and no label names a key, a job or a
script.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import generate_latest

if TYPE_CHECKING:
    from emberbox.service.status.gauges import Gauges
    from emberbox.store.records import JobRecord

_STAGE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_HTTP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_VALUES = 256
"""Most values of a label whose values are names; those that come later are counted as `other`."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Telemetry:
    """Counts what happens. All calls are quick and safe from the event loop; none raises."""

    def __init__(self) -> None:
        # When each series began is of no use to anybody here, and half of what would be sent.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self._names: dict[str, set[str]] = {}
        self._gauges: Gauges | None = None
        self._accepted = counter("emberbox_jobs_accepted", "Jobs that were accepted.", ["runtime"])
        self._finished = counter(
            "emberbox_jobs_finished", "Jobs that reached a terminal state.", ["runtime", "status"]
        )
        self._repeated = {
            "lost": counter("emberbox_job_attempts_lost", "Attempts that ended with their own VM."),
            "interrupted": counter(
                "emberbox_job_attempts_interrupted",
                "Attempts that were cut short by what is not their job's doing.",
            ),
        }
        self._stages = histogram(
            "emberbox_job_stage_seconds",
            "Where the time of jobs went: wait (in the queue), slot (for a VM's place), "
            "boot (until the VM took requests), run (the program), "
            "store (end of the program to terminal state), total (accepted to terminal state).",
            ["stage"],
            buckets=_STAGE_S,
        )
        self._cpu = counter("emberbox_job_cpu_seconds", "CPU time of programs.", ["runtime"])
        self._output = counter("emberbox_job_output_bytes", "Output of programs.", ["stream"])
        self._restores = counter(
            "emberbox_restores", "VMs that attempts got, by source: pool, clone or boot.", ["source"]
        )
        self._requests = counter(
            "emberbox_http_requests", "Requests that were answered.", ["method", "route", "status"]
        )
        self._latency = histogram(
            "emberbox_http_request_seconds", "Time to the whole answer.", ["route"], buckets=_HTTP_S
        )
        self._deliveries = counter(
            "emberbox_webhook_attempts", "Attempts to deliver a webhook, by outcome.", ["outcome"]
        )
        self._errors = counter("emberbox_errors", "Errors by their stable code.", ["code"])
        ProcessCollector(registry=self.registry)

    # -- what happens -----------------------------------------------------------------------------

    def job_accepted(self, runtime: str) -> None:
        """Count a job that was accepted."""
        self._accepted.labels(self._name("runtime", runtime)).inc()

    def job_finished(self, job: JobRecord) -> None:
        """Count a job that reached its terminal state, with its stages."""
        runtime = self._name("runtime", job.runtime)
        self._finished.labels(runtime, self._name("status", job.status)).inc()
        for stage, seconds in _stages(job).items():
            self._stages.labels(stage).observe(max(0.0, seconds))
        metrics = job.metrics or {}
        self._cpu.labels(runtime).inc(max(0.0, sum(_ms(metrics.get(name)) for name in _CPU)))
        self._output.labels("stdout").inc(max(0, job.stdout_bytes))
        self._output.labels("stderr").inc(max(0, job.stderr_bytes))
        if job.metrics is not None:
            self._restores.labels(self._name("source", str(metrics.get("source", "")))).inc()

    def job_repeated(self, outcome: str) -> None:
        """Count an attempt that came to no end of its own: `lost` or `interrupted`."""
        self._repeated[outcome].inc()

    def http(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: Its method; unknown ones are counted as `other`.
            route: The route's template, such as `/v1/jobs/{job_id}`; never the path itself.
            status: What was answered.
            seconds: Time to the whole answer.
        """
        known = self._name("route", route)
        self._requests.labels(method if method in _METHODS else "other", known, str(status)).inc()
        self._latency.labels(known).observe(max(0.0, seconds))

    def delivery(self, outcome: str) -> None:
        """Count an attempt to deliver a webhook: `delivered`, `failed`, `dead`."""
        self._deliveries.labels(self._name("outcome", outcome)).inc()

    def error(self, code: str) -> None:
        """Count an error by its stable code."""
        self._errors.labels(self._name("code", code)).inc()

    # -- what is told -----------------------------------------------------------------------------

    def show(self, gauges: Gauges) -> None:
        """Tell the state of a service, too: queue, pools, machines. Once."""
        self._gauges = gauges
        self.registry.register(gauges)

    async def scrape(self) -> bytes:
        """Return everything in Prometheus's text format; where the database fails, the queue as last read."""
        if self._gauges is not None:
            await self._gauges.refresh()
        return self.render()

    def render(self) -> bytes:
        """Return everything, with the queue as it was at the latest `scrape`."""
        return generate_latest(self.registry)

    def _name(self, label: str, value: str) -> str:
        seen = self._names.setdefault(label, set())
        if value not in seen:
            if len(seen) >= _VALUES:
                return "other"
            seen.add(value)
        return value


_CPU = ("cpu_user_ms", "cpu_system_ms", "compile_cpu_ms")


def _stages(job: JobRecord) -> dict[str, float]:
    metrics = job.metrics or {}
    stages = {}
    if job.claimed_at is not None:
        stages = {"wait": _ms(metrics.get("wait_ms"))}
    if job.started_at is not None:
        stages |= {
            "slot": _ms(metrics.get("queue_ms")),
            "boot": _ms(metrics.get("boot_ms")),
            "run": _ms(metrics.get("run_ms")),
        }
    if job.finished_at is not None:
        stages["total"] = (job.finished_at - job.created_at) / 1e6
        if job.ended_at is not None and job.started_at is not None:
            stages["store"] = (job.finished_at - job.ended_at) / 1e6
    return stages


def _ms(value: object) -> float:
    return float(value) / 1000 if isinstance(value, int | float) else 0.0

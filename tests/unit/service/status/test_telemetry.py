"""What is counted comes out in Prometheus's format, with bounded labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from emberbox.service.status.telemetry import Telemetry
from emberbox.store.records import JobRecord, JobSpec

if TYPE_CHECKING:
    from prometheus_client import Metric

SECOND = 1_000_000


def _job(**changes: object) -> JobRecord:
    values: dict[str, object] = {
        "id": "job_x",
        "team_id": "team_x",
        "key_id": "key_x",
        "script_id": None,
        "rerun_of": None,
        "name": None,
        "runtime": "python",
        "entry": "main.py",
        "content_sha": "0",
        "files_sha": None,
        "stdin_sha": None,
        "spec": JobSpec(),
        "labels": {},
        "webhook": None,
        "priority": 0,
        "precedence": 0,
        "fair_order": 0,
        "input_bytes": 0,
        "status": "succeeded",
        "reason": "exited",
        "message": None,
        "exit_code": 0,
        "signal": None,
        "attempt": 1,
        "failures": 0,
        "losses": 0,
        "interruptions": 0,
        "worker_id": "worker_x",
        "lease_until_at": None,
        "cancel_at": None,
        "available_at": 0,
        "created_at": 0,
        "claimed_at": SECOND,
        "started_at": 2 * SECOND,
        "ended_at": 4 * SECOND,
        "finished_at": 5 * SECOND,
        "metrics": {
            "source": "pool",
            "wait_ms": 1000.0,
            "queue_ms": 3.0,
            "boot_ms": 40.0,
            "run_ms": 2000.0,
            "cpu_user_ms": 1500.0,
            "cpu_system_ms": 500.0,
        },
        "stdout_bytes": 7,
        "stderr_bytes": 3,
        "storage_bytes": 0,
    }
    return JobRecord(**{**values, **changes})  # type: ignore[arg-type]


def _families(telemetry: Telemetry) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(telemetry.render().decode())}


def _value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return telemetry.registry.get_sample_value(name, labels)


def test_a_job_is_counted_with_its_stages() -> None:
    telemetry = Telemetry()
    telemetry.job_accepted("python")
    telemetry.job_finished(_job())
    assert _value(telemetry, "emberbox_jobs_accepted_total", runtime="python") == 1
    assert _value(telemetry, "emberbox_jobs_finished_total", runtime="python", status="succeeded") == 1
    assert _value(telemetry, "emberbox_restores_total", source="pool") == 1
    assert _value(telemetry, "emberbox_job_cpu_seconds_total", runtime="python") == 2.0
    assert _value(telemetry, "emberbox_job_output_bytes_total", stream="stdout") == 7
    sums = {"wait": 1.0, "slot": 0.003, "boot": 0.04, "run": 2.0, "store": 1.0, "total": 5.0}
    assert {stage: _value(telemetry, "emberbox_job_stage_seconds_sum", stage=stage) for stage in sums} == sums


def test_a_job_that_never_started_has_no_stages_of_a_run() -> None:
    telemetry = Telemetry()
    telemetry.job_finished(
        _job(status="cancelled", claimed_at=None, started_at=None, ended_at=None, metrics=None)
    )
    assert _value(telemetry, "emberbox_job_stage_seconds_count", stage="total") == 1
    assert _value(telemetry, "emberbox_job_stage_seconds_count", stage="run") is None
    assert _value(telemetry, "emberbox_job_stage_seconds_count", stage="wait") is None


def test_what_a_guest_reports_cannot_break_it() -> None:
    telemetry = Telemetry()
    telemetry.job_finished(
        _job(metrics={"cpu_user_ms": -5, "run_ms": "long", "wait_ms": -1}, finished_at=-SECOND)
    )
    assert _value(telemetry, "emberbox_job_cpu_seconds_total", runtime="python") == 0
    assert _value(telemetry, "emberbox_job_stage_seconds_sum", stage="run") == 0


def test_all_families_have_help_and_are_ours() -> None:
    telemetry = Telemetry()
    telemetry.job_repeated("lost")
    for _ in range(2):
        telemetry.job_repeated("interrupted")
    telemetry.http("GET", "/v1/jobs/{job_id}", 200, 0.01)
    telemetry.delivery("delivered")
    telemetry.error("not_found")
    families = _families(telemetry)
    assert all(family.documentation for family in families.values())
    assert all(name.startswith(("emberbox_", "process_")) for name in families)
    assert families["emberbox_http_request_seconds"].type == "histogram"
    assert (
        _value(
            telemetry, "emberbox_http_requests_total", method="GET", route="/v1/jobs/{job_id}", status="200"
        )
        == 1
    )
    assert _value(telemetry, "emberbox_job_attempts_lost_total") == 1
    assert _value(telemetry, "emberbox_job_attempts_interrupted_total") == 2


def test_labels_are_bounded() -> None:
    telemetry = Telemetry()
    for number in range(1000):
        telemetry.http(f"M{number}", f"/x/{number}", 404, 0.0)
        telemetry.error(f"code-{number}")
    samples = [sample for family in _families(telemetry).values() for sample in family.samples]
    assert len({sample.labels["code"] for sample in samples if "code" in sample.labels}) == 257
    assert len({sample.labels["route"] for sample in samples if "route" in sample.labels}) == 257
    assert {sample.labels["method"] for sample in samples if "method" in sample.labels} == {"other"}


def test_each_has_a_registry_of_its_own() -> None:
    first, second = Telemetry(), Telemetry()
    first.job_repeated("lost")
    assert _value(second, "emberbox_job_attempts_lost_total") == 0

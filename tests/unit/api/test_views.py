"""Records as the API shows them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from emberbox.api.views import (
    answer,
    artifact_view,
    encoded,
    job_page,
    job_view,
    log_view,
    moment,
    shown,
    timestamp,
)
from emberbox.model import RunOptions
from emberbox.schemas.base import Page
from emberbox.schemas.jobs import Attempt, Job, LogPage
from emberbox.service.jobs.jobs import AttemptRecord
from emberbox.service.jobs.logs.reading import LogRecord
from emberbox.service.jobs.running.live import JobOutput
from emberbox.store.records import ArtifactRecord, JobRecord, JobSpec

JOB = JobRecord(
    id="job_1",
    team_id="team_1",
    key_id="key_1",
    script_id="script_1",
    rerun_of=None,
    name="näme",
    runtime="python",
    entry="main.py",
    content_sha="c",
    files_sha=None,
    stdin_sha="s",
    spec=JobSpec(
        options=RunOptions(
            args=["a", "ü"],
            env={"TOKEN": "geheim", "A": "auch"},
            timeout_s=30,
            cpu_s=1.5,
            output_bytes=9,
        ),
        retries=2,
        artifacts=["*.txt"],
    ),
    labels={"team": "x"},
    webhook={"url": "http://example.org/", "secret": "streng geheim"},
    priority=3,
    precedence=0,
    fair_order=1,
    input_bytes=0,
    status="failed",
    reason="exited",
    message="exited with code 3",
    exit_code=3,
    signal=None,
    attempt=2,
    failures=1,
    losses=0,
    interruptions=0,
    worker_id="worker_1",
    lease_until_at=None,
    cancel_at=None,
    available_at=1,
    created_at=1_700_000_000_000_001,
    claimed_at=1_700_000_000_500_000,
    started_at=1_700_000_001_000_000,
    ended_at=1_700_000_002_999_999,
    finished_at=1_700_000_003_000_000,
    metrics={"run_ms": 12.5, "source": "pool", "added_later": 1},
    stdout_bytes=7,
    stderr_bytes=0,
    storage_bytes=9,
)
OUTPUT = JobOutput(b"ja \xff\xe4", b"", True, False)
ATTEMPTS = [
    shown(Attempt, AttemptRecord(1, "worker_1", 1, 2, "lost", "gone")),
    shown(Attempt, AttemptRecord(2, "worker_1", 3, 4, "failed", None)),
]
ARTIFACT = ArtifactRecord(
    id="art_1", job_id="job_1", path="a/b.txt", size=3, sha256="f", blob_key="k/geheim", created_at=5
)


def body(record: JobRecord, **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(bytes(answer(job_view(record, **more)).body))
    return values


def test_a_view_is_what_checking_it_would_give() -> None:
    values = body(JOB, output=OUTPUT, attempts=ATTEMPTS, artifacts=[ARTIFACT])
    checked = Job.model_validate(values)
    assert checked.model_dump(mode="json") == values
    assert set(values) == set(Job.model_fields)
    assert values["stdout"] == "ja \ufffd\ufffd"
    assert (values["stdout_truncated"], values["stderr_truncated"]) == (True, False)
    assert values["metrics"]["run_ms"] == 12.5
    assert values["metrics"]["total_ms"] == 0
    assert [a["outcome"] for a in values["attempts"]] == ["lost", "failed"]
    assert values["artifacts"][0]["path"] == "a/b.txt"
    assert checked.times.ended_at == datetime(2023, 11, 14, 22, 13, 22, 999_999, UTC)


def test_no_secret_is_shown() -> None:
    text = json.dumps(body(JOB, output=OUTPUT, attempts=ATTEMPTS, artifacts=[ARTIFACT]))
    assert "geheim" not in text
    assert "auch" not in text
    assert body(JOB)["env_names"] == ["A", "TOKEN"]


def test_what_has_not_happened_is_null() -> None:
    waiting = replace(
        JOB,
        status="queued",
        reason=None,
        exit_code=None,
        message=None,
        claimed_at=None,
        started_at=None,
        ended_at=None,
        finished_at=None,
        metrics=None,
    )
    values = body(waiting)
    assert values["metrics"] is None
    assert values["times"] == {
        "created_at": values["times"]["created_at"],
        "claimed_at": None,
        "started_at": None,
        "ended_at": None,
        "finished_at": None,
    }
    assert values["stdout"] is None
    assert values["stdout_truncated"] is None
    Job.model_validate(values)


def test_a_page_leaves_the_details_out() -> None:
    values = json.loads(bytes(job_page([JOB, JOB], "job_1").body))
    assert values["next_cursor"] == "job_1"
    assert not {"stdout", "stderr", "attempts", "artifacts"} & set(values["items"][0])
    assert Page[Job].model_validate(values).items[1].id == "job_1"


def test_a_part_of_a_log() -> None:
    records = [
        LogRecord("1.17", "stdout", 1_000_001, b"\xffa"),
        LogRecord("1.40", "stderr", 2_000_000, "ü".encode()),
    ]
    text = LogPage.model_validate_json(bytes(answer(log_view(records, "1.40", False, "text")).body))
    assert [(e.id, e.stream, e.data) for e in text.entries] == [
        ("1.17", "stdout", "\ufffda"),
        ("1.40", "stderr", "ü"),
    ]
    assert text.entries[0].time == datetime(1970, 1, 1, 0, 0, 1, 1, UTC)
    binary = log_view(records, None, True, "base64")
    assert base64.b64decode(binary.entries[0].data) == b"\xffa"
    assert (binary.next, binary.complete) == (None, True)


@given(st.integers(min_value=0, max_value=4_000_000_000_000_000))
def test_times_are_exact(time_us: int) -> None:
    assert (moment(time_us) - moment(0)) // timedelta(microseconds=1) == time_us
    assert datetime.fromisoformat(timestamp(time_us)) == moment(time_us)
    assert len(timestamp(time_us)) == 27


@given(st.binary(max_size=64))
def test_base64_keeps_every_byte_and_text_can_always_be_sent(data: bytes) -> None:
    assert base64.b64decode(encoded(data, "base64")) == data
    encoded(data, "text").encode("utf-8")


def test_an_artifact_hides_where_it_lies() -> None:
    assert "blob_key" not in artifact_view(ARTIFACT).model_dump()

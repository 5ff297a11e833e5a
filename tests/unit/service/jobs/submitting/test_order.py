"""An order becomes a row, and a job becomes an order again."""

from __future__ import annotations

from emberbox.service.jobs.submitting.order import JobOrder, new_row
from emberbox.store.records import JobRecord, JobSpec
from emberbox.store.tables import jobs
from tests.accounts import key_record

KEY = key_record(id="key_x", team_id="team_x")
ORDER = JobOrder(
    runtime="bash",
    entry="main.sh",
    content_sha="0" * 64,
    files_sha="1" * 64,
    stdin_sha="2" * 64,
    spec=JobSpec(retries=2, artifacts=["*.png"]),
    labels={"a": "b"},
    webhook={"url": "https://example.com", "secret": "s"},
    priority=3,
    name="nightly",
    script_id="scr_x",
)


def job() -> JobRecord:
    return JobRecord.from_row({**new_row(KEY, ORDER, 7), "fair_order": 1})


def test_a_row_has_every_column_and_waits() -> None:
    row = new_row(KEY, ORDER, 7)
    assert set(row) == {column.name for column in jobs.c}
    assert (row["status"], row["attempt"], row["available_at"]) == ("queued", 0, 7)
    assert (row["team_id"], row["key_id"]) == ("team_x", "key_x")


def test_an_order_comes_through_its_row() -> None:
    assert job().spec == ORDER.spec
    assert (job().name, job().priority, job().labels) == ("nightly", 3, {"a": "b"})


def test_another_run_of_a_job_is_the_same_order() -> None:
    first = job()
    again = JobOrder.again(first)
    assert again.rerun_of == first.id
    assert {**_fields(again), "rerun_of": None} == _fields(ORDER)


def _fields(order: JobOrder) -> dict[str, object]:
    return {name: getattr(order, name) for name in JobOrder.__dataclass_fields__}

"""An order becomes a row, and a job becomes an order again."""

from __future__ import annotations

from dataclasses import replace

from emberbox.model import RunOptions
from emberbox.service.jobs.submitting.order import JobOrder, new_row
from emberbox.service.secrets.vault import Vault
from emberbox.store.records import JobRecord, JobSpec, KeyRecord
from emberbox.store.tables import jobs
from tests.vaults import Given, vault_with

VAULT = vault_with()
KEY = KeyRecord(
    id="key_x",
    name="x",
    hint="",
    scopes=frozenset({"run"}),
    quota={},
    created_at=0,
    expires_at=None,
    last_used_at=None,
    revoked_at=None,
)
ORDER = JobOrder(
    runtime="bash",
    entry="main.sh",
    content_sha="0" * 64,
    files_sha="1" * 64,
    stdin_sha="2" * 64,
    spec=JobSpec(
        retries=2, artifacts=["*.png"], options=RunOptions(env={"A": "1"}, secret_env={"B": "geheim"})
    ),
    labels={"a": "b"},
    webhook={"url": "https://example.com", "secret": "geheim auch"},
    priority=3,
    name="nightly",
    script_id="scr_x",
)


def job() -> JobRecord:
    return JobRecord.from_row({**new_row(KEY, ORDER, 7, VAULT), "fair_order": 1})


def test_a_row_has_every_column_and_waits() -> None:
    row = new_row(KEY, ORDER, 7, VAULT)
    assert set(row) == {column.name for column in jobs.c}
    assert (row["status"], row["key_id"], row["attempt"], row["available_at"]) == ("queued", "key_x", 0, 7)


def test_an_order_comes_through_its_row() -> None:
    assert job().spec == JobSpec(retries=2, artifacts=["*.png"], options=RunOptions(env={"A": "1"}))
    assert (job().name, job().priority, job().labels) == ("nightly", 3, {"a": "b"})


def test_another_run_of_a_job_is_the_same_order() -> None:
    first = job()
    again = JobOrder.again(first, VAULT)
    assert again.rerun_of == first.id
    assert {**_fields(again), "rerun_of": None} == _fields(ORDER)


def test_secrets_are_sealed_in_the_row_and_shown_nowhere() -> None:
    assert "geheim" not in str(new_row(KEY, ORDER, 7, VAULT))
    assert "geheim" not in repr(ORDER)
    assert set(job().sealed_env or {}) == {"B"}
    assert (job().webhook or {})["url"] == "https://example.com"


def test_a_job_without_secrets_needs_no_key() -> None:
    order = replace(ORDER, spec=JobSpec(), webhook={"url": "https://example.com", "secret": None})
    row = new_row(KEY, order, 7, Vault(Given()))
    assert (row["sealed_env"], row["webhook"]) == (None, order.webhook)


def _fields(order: JobOrder) -> dict[str, object]:
    return {name: getattr(order, name) for name in JobOrder.__dataclass_fields__}

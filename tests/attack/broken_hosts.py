"""Broken hosts: a service that is killed, and one whose disk, VMs or database fail."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.attack.rows import Row
from tests.attack.strikes import Place, fill_disk, kill_service, stop_machines, take_database_away
from tests.e2e.services import SERVE_ON_HOST
from tests.integration.postgres import find_programs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emberbox.images import ImageStore
    from tests.attack.reports import Report

    Record = Callable[[str, object], None]

KILLS = 30
DISKS = 10
STOPS = 10
ABSENCES = 3
_HERE = "attack/broken_hosts.py::test"
_HOLDS = "every job that was accepted succeeds once, with its whole log; nothing is left on the host"

ROWS = (
    Row(
        name="killed service",
        tried=f"kill -9 of the service at {KILLS} random moments under load, of its start as well",
        holds=_HOLDS,
        tests=(f"{_HERE}_kills",),
    ),
    Row(
        name="full disk",
        tried=f"the disk of the data folder is full at {DISKS} random moments under load, for seconds",
        holds=_HOLDS,
        tests=(f"{_HERE}_disks",),
    ),
    Row(
        name="VMs that stop",
        tried=f"the VMM of a running job is stopped at {STOPS} random moments, for good",
        holds="the host's clock ends each; all other jobs succeed; nothing is left on the host",
        tests=(f"{_HERE}_stops",),
    ),
    Row(
        name="database that is away",
        tried=f"PostgreSQL is stopped {ABSENCES} times under load, for seconds",
        holds=_HOLDS,
        tests=(f"{_HERE}_absences",),
    ),
)


@pytest.fixture
def on_host(tmp_path: Path) -> Place:
    """Return where programs are plain processes: what fails is beside the VMs."""
    return Place(tmp_path / "broken", command=SERVE_ON_HOST)


def _none_lost(report: Report, record: Record) -> None:
    record("seed", report.seed)
    record("strikes", len(report.did))
    record("jobs", len(report.jobs))
    record("attempts", sum(len(job.outcomes) for job in report.jobs))
    record("faults", len(report.faults()))
    assert report.jobs, "nothing was tried"
    assert report.faults() == [], report.summary()


async def test_kills(on_host: Place, record_property: Record) -> None:
    report = await kill_service(on_host, KILLS)
    _none_lost(report, record_property)
    outcomes = {outcome for job in report.jobs for outcome in job.outcomes}
    assert "interrupted" in outcomes, f"no kill hit a job: {report.summary()}"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a small file system is mounted")
async def test_disks(on_host: Place, record_property: Record) -> None:
    _none_lost(await fill_disk(on_host, DISKS), record_property)


async def test_stops(tmp_path: Path, data_folder: Path, images: ImageStore, record_property: Record) -> None:
    report = await stop_machines(Place(tmp_path / "broken", shared=data_folder), STOPS)
    _none_lost(report, record_property)


@pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed")
async def test_absences(on_host: Place, record_property: Record) -> None:
    _none_lost(await take_database_away(on_host, ABSENCES), record_property)

"""A service whose host fails, with the real agent on this host in the place of VMs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.attack.strikes import Place, fill_disk, kill_service, take_database_away
from tests.e2e.services import SERVE_ON_HOST
from tests.integration.postgres import find_programs

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "broken", command=SERVE_ON_HOST)


async def test_kills_in_a_row_lose_no_job(place: Place) -> None:
    """With the settings that everybody has: kills are not the jobs' fault."""
    report = await kill_service(place, 8, seed=1)
    assert report.faults() == [], report.summary()
    assert "interrupted" in {outcome for job in report.jobs for outcome in job.outcomes}, report.summary()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a small file system is mounted")
async def test_a_full_disk_loses_no_job(place: Place) -> None:
    report = await fill_disk(place, 3, seed=1)
    assert report.faults() == [], report.summary()


@pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed")
async def test_a_database_that_is_away_loses_no_job(place: Place) -> None:
    report = await take_database_away(place, 2, seed=1)
    assert report.faults() == [], report.summary()

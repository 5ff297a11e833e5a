"""A few strikes of each kind against a service on real VMs; `tests/attack` has the attacks themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.attack.strikes import Place, fill_disk, kill_machines, stop_machines, take_database_away
from tests.integration.postgres import find_programs

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images import ImageStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture
def place(tmp_path: Path, data_folder: Path, images: ImageStore) -> Place:
    return Place(tmp_path / "broken", shared=data_folder)


async def test_vms_that_stop(place: Place) -> None:
    report = await stop_machines(place, 3, seed=1)
    assert report.faults() == [], report.summary()


async def test_vms_that_are_killed(place: Place) -> None:
    """Their jobs are run again, and none is to blame."""
    report = await kill_machines(place, 6, seed=1)
    assert report.faults() == [], report.summary()
    assert "interrupted" in {outcome for job in report.jobs for outcome in job.outcomes}, report.summary()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a small file system is mounted")
async def test_a_disk_that_is_full(place: Place) -> None:
    report = await fill_disk(place, 3, seed=1)
    assert report.faults() == [], report.summary()


@pytest.mark.skipif(find_programs() is None, reason="PostgreSQL is not installed")
async def test_a_database_that_is_away(place: Place) -> None:
    report = await take_database_away(place, 1, seed=1)
    assert report.faults() == [], report.summary()

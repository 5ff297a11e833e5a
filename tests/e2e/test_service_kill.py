"""kill -9 of the service at any moment: no accepted job is lost, none succeeds twice, nothing leaks."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.attack.load import UNDERWAY
from tests.attack.strikes import Place, kill_service

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images import ImageStore
    from tests.attack.reports import Report

KILLS = 30


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_killed_under_load(tmp_path: Path, data_folder: Path, images: ImageStore) -> None:
    report = await kill_service(Place(tmp_path, shared=data_folder), KILLS, seed=3)
    assert report.faults() == [], report.summary()
    assert len(report.jobs) >= UNDERWAY
    _account(tmp_path / "data/service.db", report)
    assert list((tmp_path / "data/scratch").iterdir()) == []


def _account(database: Path, report: Report) -> None:
    """Find in the rows nothing unasked for, nothing done twice and nothing held by a dead worker."""
    with contextlib.closing(sqlite3.connect(database)) as rows:
        jobs = {row[0] for row in rows.execute("SELECT id FROM jobs")}
        assert report.accepted == jobs, "each row was asked for, and each answer has its row"
        twice = "SELECT job_id FROM attempts WHERE outcome = 'succeeded' GROUP BY job_id HAVING count(*) > 1"
        assert rows.execute(twice).fetchall() == []
        assert rows.execute("SELECT count(*) FROM results").fetchone()[0] == len(jobs)
        assert rows.execute("SELECT count(*) FROM workers").fetchone()[0] == 0
        cut_short = "SELECT count(*) FROM attempts WHERE outcome = 'interrupted'"
        assert rows.execute(cut_short).fetchone()[0] > 0, "the kills hit jobs"
        assert rows.execute("SELECT sum(losses) FROM jobs").fetchone()[0] == 0, "and none was to blame"
        assert rows.execute("PRAGMA integrity_check").fetchone()[0] == "ok"

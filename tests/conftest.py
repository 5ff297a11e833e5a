"""Fixtures that all tests share. Real VMs and what they need are set up once for a run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Where images and templates of the tests live; kept between runs, since building them takes a minute."""
    folder = Path(os.environ.get("EMBERBOX_TEST_DATA") or ROOT / ".cache/test-data")
    folder.mkdir(parents=True, exist_ok=True)
    return folder

"""Fixtures that all tests share. Real VMs and what they need are set up once for a run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

from tests.peers.plugin import requests_auditor, validated_requests  # noqa: F401

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell leaves it for what runs in its background: what is ignored here would stay ignored
    # in every program of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Examples that are slow on a busy machine are no failures.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Where images and templates of the tests live; kept between runs, since building them takes a minute."""
    folder = Path(os.environ.get("EMBERBOX_TEST_DATA") or ROOT / ".cache/test-data")
    folder.mkdir(parents=True, exist_ok=True)
    return folder

"""Fixtures that all tests share. Real VMs and what they need are set up once for a run."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.peers.plugin import requests_auditor, validated_requests  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """Undo what a command did to the log: with `--verbose`, all later tests would collect every line."""
    loggers = [logging.getLogger(), logging.getLogger("emberbox")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, (level, handlers) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers = handlers

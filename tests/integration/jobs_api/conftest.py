"""Fixtures of the tests of jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from emberbox.config import Settings


@pytest.fixture
def service_settings(service_settings: Settings) -> Settings:
    """Settings of a service that does not wait long for jobs that a test leaves running."""
    return replace(service_settings, worker=replace(service_settings.worker, drain_s=0.2))

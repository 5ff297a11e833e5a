"""Fixtures: an engine, a service and commands that know the tests' compiled language."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emberbox.config import Settings
from emberbox.testing.engine import HostEngine
from tests.integration.client.conftest import database_kind, emberbox, environment  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

RUNTIMES = Path(__file__).parents[2] / "runtimes"
LUCKY = '#!compile echo "echo $RANDOM$RANDOM$RANDOM" >> "$2"\n'
"""A source whose program prints another number each time that it is compiled."""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[HostEngine]:
    async with HostEngine(Settings(data=tmp_path / "data", runtimes=(RUNTIMES,))) as running:
        yield running


@pytest.fixture
def service_settings(service_settings: Settings) -> Settings:
    return replace(service_settings, runtimes=(RUNTIMES,))

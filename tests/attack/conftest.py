"""Fixtures of the attacks: those of the tests on real VMs."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import (
    _patient_programs,
    _quiet_environment,
    engine,
    images,
    nothing_left_behind,
    settings,
)

__all__ = [
    "_patient_programs",
    "_quiet_environment",
    "engine",
    "images",
    "nothing_left_behind",
    "settings",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here."""
    for item in items:
        if item.nodeid.startswith("tests/attack/"):
            item.add_marker(pytest.mark.attack)

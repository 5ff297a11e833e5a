"""Kinds of drivers that tests have the registry know."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

from emberbox.vmm import registry

if TYPE_CHECKING:
    import pytest

    from emberbox.vmm.kind import DriverKind


def register(monkeypatch: pytest.MonkeyPatch, **kinds: DriverKind) -> None:
    """Have the registry know these drivers, the preferred first, and no others."""
    for name, kind in kinds.items():
        module = ModuleType(f"kind_of_{name}")
        vars(module)["KIND"] = kind
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "DRIVERS", {name: f"kind_of_{name}" for name in kinds})

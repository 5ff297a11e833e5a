"""The product's heart: the engine, its templates, pools and sandboxes.

Names are loaded at their first use: what a package request is, the command line must know also
where no engine can be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emberbox.sandbox.engine import Engine
    from emberbox.sandbox.process import Process
    from emberbox.sandbox.sandbox import Sandbox
    from emberbox.sandbox.templates.pool import PoolStatus
    from emberbox.sandbox.templates.stored import TemplateRecord
    from emberbox.sandbox.templates.template import Template

_HOMES = {
    "Engine": "engine",
    "PoolStatus": "templates.pool",
    "Process": "process",
    "Sandbox": "sandbox",
    "Template": "templates.template",
    "TemplateRecord": "templates.stored",
}

__all__ = ["Engine", "PoolStatus", "Process", "Sandbox", "Template", "TemplateRecord"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'emberbox.sandbox' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"emberbox.sandbox.{_HOMES[name]}"), name)
    globals()[name] = value
    return value

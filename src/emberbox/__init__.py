"""Emberbox: untrusted programs, each in a microVM of its own, cloned from a warm snapshot.

    import emberbox
    result = emberbox.run("print(6 * 7)", runtime="python")

Names are loaded at their first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emberbox.client import AsyncClient, Client
    from emberbox.config import Settings, load_settings
    from emberbox.errors import EmberboxError
    from emberbox.model import (
        CompileResult,
        FileEntry,
        GuestMetrics,
        Limits,
        Output,
        OutputFile,
        RunMetrics,
        RunOptions,
        RunResult,
        RunStatus,
    )
    from emberbox.sandbox import Engine, Process, Sandbox
    from emberbox.sandbox.sync import run

_HOMES = {
    "AsyncClient": "emberbox.client",
    "Client": "emberbox.client",
    "CompileResult": "emberbox.model",
    "EmberboxError": "emberbox.errors",
    "Engine": "emberbox.sandbox",
    "FileEntry": "emberbox.model",
    "GuestMetrics": "emberbox.model",
    "Limits": "emberbox.model",
    "Output": "emberbox.model",
    "OutputFile": "emberbox.model",
    "Process": "emberbox.sandbox",
    "RunMetrics": "emberbox.model",
    "RunOptions": "emberbox.model",
    "RunResult": "emberbox.model",
    "RunStatus": "emberbox.model",
    "Sandbox": "emberbox.sandbox",
    "Settings": "emberbox.config",
    "load_settings": "emberbox.config",
    "run": "emberbox.sandbox.sync",
}

__all__ = [
    "AsyncClient",
    "Client",
    "CompileResult",
    "EmberboxError",
    "Engine",
    "FileEntry",
    "GuestMetrics",
    "Limits",
    "Output",
    "OutputFile",
    "Process",
    "RunMetrics",
    "RunOptions",
    "RunResult",
    "RunStatus",
    "Sandbox",
    "Settings",
    "load_settings",
    "run",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("emberbox")
    if name not in _HOMES:
        raise AttributeError(f"module 'emberbox' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])

"""The frequency of the time stamp counter, which a guest under TCG has no timer to measure."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[3] / "src" / "emberbox" / "vmm" / "timestamp.py"


def counter_khz() -> int | None:
    """Measure the frequency in kHz; None where it cannot be. Blocks for 50 ms.

    Raises `OSError` when the source is missing.
    """
    # By path: the package around it wants more than the standard library.
    spec = importlib.util.spec_from_file_location("peer_timestamp", _SOURCE)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(str(_SOURCE))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    measured: int | None = module.tsc_khz()
    return measured

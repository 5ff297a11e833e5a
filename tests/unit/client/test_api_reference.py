"""The reference of the API is what the service says of itself."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_reference_is_what_the_service_says() -> None:
    written = runpy.run_module("scripts.api_reference")["reference"]()
    assert written == (ROOT / "docs/api.md").read_text(), "run: .venv/bin/python -m scripts.api_reference"

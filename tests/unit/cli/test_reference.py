"""The reference of the command line is what the command says."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_the_reference_is_what_the_command_says() -> None:
    written = runpy.run_module("scripts.cli_reference")["reference"]()
    assert written == (ROOT / "docs/cli.md").read_text(), "run: .venv/bin/python -m scripts.cli_reference"

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[3]


class Emberbox(Protocol):
    def __call__(
        self, *words: str, stdin: bytes | int | None = None, **env: str
    ) -> subprocess.CompletedProcess[bytes]: ...


def environment(folder: Path, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EMBERBOX")}
    return {
        **clean,
        "EMBERBOX_DATA": str(folder / "data"),
        "LOCAL_ENGINE_LOG": str(folder / "log"),
        "HOME": str(folder),
        **more,
    }


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "tests.unit.cli.local_engine", *words]


@pytest.fixture
def emberbox(tmp_path: Path) -> Emberbox:
    """Run the command on the local engine, with nothing on standard input unless told otherwise."""

    def run(*words: str, stdin: bytes | int | None = None, **env: str) -> subprocess.CompletedProcess[bytes]:
        source: dict[str, Any] = (
            {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin or subprocess.DEVNULL}
        )
        return subprocess.run(
            command(*words),
            cwd=ROOT,
            env=environment(tmp_path, **env),
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
            **source,
        )

    return run


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the local engine notes what it does."""
    return tmp_path / "log"

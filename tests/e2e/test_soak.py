"""Short jobs in a row leave nothing behind: `scripts/soak.py` with fewer than ten thousand."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from emberbox.images import ImageStore

SOAK = Path(__file__).parents[2] / "scripts/soak.py"
JOBS = 24


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_short_jobs_in_a_row(data_folder: Path, images: ImageStore) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SOAK),
        "--jobs",
        str(JOBS),
        "--data",
        str(data_folder),
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, output.decode() + errors.decode()
    found = json.loads(output)
    assert (found["jobs"], found["left"], found["after"]["rows"]) == (JOBS, [], 0)

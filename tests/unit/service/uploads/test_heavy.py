"""Which uploads take a turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from emberbox.service.uploads.heavy import SMALL_BYTES, HeavyTurns
from emberbox.service.uploads.intake import UploadPart
from tests.patience import PATIENCE_S
from tests.unit.service.uploads.archive_builders import make_zip

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, list[UploadPart]]:
    def part(name: str, data: bytes) -> UploadPart:
        path = tmp_path / name
        path.write_bytes(data)
        return UploadPart(name, path)

    small = part("main.py", b"print()")
    archive = part("a.zip", make_zip({"main.py": b"print()"}))
    return {
        "nothing": [],
        "small": [small],
        "some": [small, archive],
        "archive": [archive],
        "packed": [part("a.gz", b"\x1f\x8b noise")],
        "large": [part("large", bytes(SMALL_BYTES))],
        "many": [small] * 100,
    }


@pytest.mark.parametrize(
    ("kind", "heavy"),
    [
        ("nothing", False),
        ("small", False),
        ("some", False),
        ("archive", True),
        ("packed", True),
        ("large", True),
        ("many", True),
    ],
)
async def test_what_takes_a_moment_takes_no_turn(
    parts: dict[str, list[UploadPart]], monkeypatch: pytest.MonkeyPatch, kind: str, *, heavy: bool
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    turns = HeavyTurns()

    async def upload() -> None:
        async with turns.for_upload("team", parts[kind]):
            pass

    async with turns.for_bytes("team", SMALL_BYTES):
        task = asyncio.create_task(upload())
        ended, _ = await asyncio.wait([task], timeout=0.2 if heavy else PATIENCE_S)
        assert bool(ended) is not heavy
        async with asyncio.timeout(PATIENCE_S), turns.for_bytes("other", SMALL_BYTES):
            pass
    async with asyncio.timeout(PATIENCE_S):
        await task

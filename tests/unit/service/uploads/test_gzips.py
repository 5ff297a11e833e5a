"""Gzip files, good and bad."""

from __future__ import annotations

import gzip
import os
import zlib
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import InvalidArchive
from emberbox.service.uploads.gzips import open_gzip

if TYPE_CHECKING:
    from pathlib import Path

NOISE = os.urandom(50_000)
NAMED = b"\x1f\x8b\x08\x08" + bytes(6)


def unpacked(tmp_path: Path, data: bytes) -> bytes:
    path = tmp_path / "packed"
    path.write_bytes(data)
    with open_gzip(path) as stream:
        return stream.read()


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b""),
        gzip.compress(NOISE),
        gzip.compress(bytes(5_000_000)),
        gzip.compress(NOISE) + gzip.compress(b"") + gzip.compress(b"more"),
        gzip.compress(NOISE) + bytes(40_000),
        gzip.compress(NOISE) + bytes(100) + gzip.compress(b"more") + bytes(100),
        NAMED + b"n" * 40_000 + b"\0" + gzip.compress(NOISE)[10:],
    ],
    ids=["empty", "noise", "zeros", "members", "padded", "padded members", "named"],
)
def test_what_the_standard_library_unpacks_is_unpacked_alike(tmp_path: Path, data: bytes) -> None:
    assert unpacked(tmp_path, data) == gzip.decompress(data)


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(NOISE)[:-1],
        gzip.compress(NOISE)[:100],
        gzip.compress(NOISE)[:-8] + bytes(8),
        gzip.compress(NOISE) + b"rest",
        NAMED + b"n" * 100_000,
        b"\x1f\x8b",
    ],
    ids=["cut at its end", "cut", "false sum", "rest", "endless name", "magic"],
)
def test_damage_is_told(tmp_path: Path, data: bytes) -> None:
    with pytest.raises((EOFError, zlib.error)):
        unpacked(tmp_path, data)


def test_members_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArchive, match="members"):
        unpacked(tmp_path, gzip.compress(b"") * 10_001)

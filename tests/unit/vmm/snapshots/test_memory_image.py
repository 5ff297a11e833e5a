from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from emberbox.vmm.snapshots.memory_image import (
    create_memory,
    empty_copy,
    extents,
    fill_and_seal,
    full_digest,
    reopen,
    sample_digest,
    sealed_bytes,
)

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 8 * 1024 * 1024


@pytest.fixture
def image(tmp_path: Path) -> Path:
    descriptor = create_memory(tmp_path / "memory", SIZE)
    os.pwrite(descriptor, b"a" * 5000, 0)
    os.pwrite(descriptor, b"z" * 100, SIZE - 4096)
    os.close(descriptor)
    return tmp_path / "memory"


def sealed_copy(path: Path, name: str) -> int:
    copy = empty_copy(path, name)
    fill_and_seal(copy, path)
    return copy


def test_a_sealed_copy_is_the_same_with_its_holes(image: Path) -> None:
    copy = sealed_copy(image, "t")
    try:
        assert os.pread(copy, SIZE, 0) == image.read_bytes()
        assert sum(end - start for start, end in extents(copy)) < SIZE // 4
        with image.open("rb") as file:
            assert full_digest(copy) == full_digest(file.fileno())
            assert sample_digest(copy) == sample_digest(file.fileno())
    finally:
        os.close(copy)


def test_a_sealed_copy_cannot_be_changed(image: Path) -> None:
    copy = sealed_copy(image, "t")
    try:
        with pytest.raises(PermissionError):
            os.pwrite(copy, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(copy, 0)
    finally:
        os.close(copy)


def test_digests_notice_a_change(image: Path) -> None:
    with image.open("r+b") as file:
        full, sample = full_digest(file.fileno()), sample_digest(file.fileno())
        os.pwrite(file.fileno(), b"b", 4999)
        assert full_digest(file.fileno()) != full
        os.pwrite(file.fileno(), b"b", 0)
        assert sample_digest(file.fileno()) != sample


def test_memory_never_replaces_a_file(image: Path) -> None:
    before = image.read_bytes()
    with pytest.raises(FileExistsError):
        create_memory(image, SIZE)
    assert image.read_bytes() == before


def test_reopened_descriptors_have_places_of_their_own() -> None:
    kept = sealed_bytes(b"state", "t")
    first, second = reopen(kept), reopen(kept)
    try:
        assert os.read(first, 5) == os.read(second, 5) == b"state"
    finally:
        for descriptor in (kept, first, second):
            os.close(descriptor)

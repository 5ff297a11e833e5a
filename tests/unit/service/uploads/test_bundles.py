"""Bundles: the same files always make the same archive, and it holds what went in."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emberbox.errors import InvalidInput, InvalidPath
from emberbox.service.uploads.bundles import BundleFile, plan

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30) | st.sampled_from(
    ["a/b/c", "x" * 120, "y" * 200 + "/" + "ß" * 100]
)
FILES = st.dictionaries(
    NAMES, st.tuples(st.binary(max_size=1500), st.sampled_from([0o600, 0o644, 0o700, 0o4755])), max_size=8
)


@settings(max_examples=150)
@given(files=FILES, seed=st.randoms())
def test_what_goes_in_comes_out_in_any_order(files: dict[str, tuple[bytes, int]], seed: object) -> None:
    given_files = [BundleFile(path, data, mode) for path, (data, mode) in files.items()]
    try:
        made = plan("bundle", given_files)
    except InvalidPath:
        return
    seed.shuffle(given_files)  # type: ignore[attr-defined]
    assert plan("bundle", given_files).sha256 == made.sha256
    whole = b"".join(made.pieces())
    assert len(whole) == made.size
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        for member, entry in zip(archive.getmembers(), made.entries, strict=True):
            extracted = archive.extractfile(member)
            assert extracted is not None
            data = extracted.read()
            assert (member.name, member.mode, member.uid, member.mtime) == (
                entry["path"],
                entry["mode"],
                0,
                0,
            )
            assert data == whole[entry["offset"] : entry["offset"] + entry["size"]]
            assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    assert sorted(entry["size"] for entry in made.entries) == sorted(len(data) for data, _ in files.values())


def test_the_identity_of_today_is_that_of_tomorrow() -> None:
    files = [BundleFile("main.py", b"print(1)\n"), BundleFile("lib/ß.py", b"", 0o755)]
    assert plan("bundle", files).sha256 == "76044ef09eee85337abc888846458e6f82b27262e848e56f87a237fac4c967dc"
    assert (
        plan("file", files[:1]).sha256 == "103d71c558ee2454a1294dacb68332fced78dfaf7e9db0a2b7145f2b0e7d2708"
    )


def test_a_file_that_shrinks_meanwhile_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    made = plan("bundle", [BundleFile("x", tmp_path / "x")])
    (tmp_path / "x").write_bytes(b"123")
    with pytest.raises(InvalidInput, match="shorter"):
        list(made.pieces())

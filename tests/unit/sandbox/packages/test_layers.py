"""The store of layers: each scope for itself, room bounded, what is in use kept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import ImageCorrupt
from emberbox.model import PackagesResult
from emberbox.sandbox.packages.layers import LayerStore

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.sandbox.packages.layers import Layer

MADE = PackagesResult(ok=True, reason="installed", tool="pip", output_data=b"done \xff", downloaded_bytes=7)


async def _keep(store: LayerStore, scope: str | None, key: str, data: bytes) -> Layer:
    async with store.building(scope, key) as folder:
        file = folder / "layer.ext4"
        file.write_bytes(data)
        return store.keep(scope, key, file, MADE)


async def test_an_entry_is_offered_to_the_scope_that_made_it_alone(tmp_path: Path) -> None:
    store = LayerStore(tmp_path / "layers", 10)
    assert store.find(None, "key") is None
    layer = await _keep(store, "alice", "key", b"x")
    found = store.find("alice", "key")
    assert found is not None
    assert found.path == layer.path
    assert found.path.read_bytes() == b"x"
    assert (found.result.reason, found.result.output_data, found.result.downloaded_bytes) == (
        "cached",
        b"done \xff",
        7,
    )
    assert store.find("bob", "key") is None
    assert store.find(None, "key") is None
    assert store.find("alice", "other") is None


async def test_the_oldest_goes_first_and_what_is_leased_stays(tmp_path: Path) -> None:
    gone: list[str] = []
    store = LayerStore(tmp_path / "layers", 1, attached=lambda _: 400 * 1024, detach=gone.append)
    layers = [await _keep(store, None, f"key{number}", bytes([number]) * 300_000) for number in range(3)]
    for number, layer in enumerate(layers):
        for file in (tmp_path / "layers/parts").glob(f"*/key{number}.json"):
            os.utime(file, (1000 + number, 1000 + number))
        assert layer.path.exists()
    with store.lease(layers[0]):
        removed = store.trim()
    assert layers[0].digest not in removed
    assert layers[1].digest in removed
    assert gone == removed
    assert store.find(None, "key0") is not None
    assert store.find(None, "key1") is None


async def test_a_layer_that_is_gone_or_cannot_be_read_is_made_anew(tmp_path: Path) -> None:
    store = LayerStore(tmp_path / "layers", 10)
    layer = await _keep(store, None, "key", b"x")
    layer.path.unlink()
    assert store.find(None, "key") is None
    with pytest.raises(ImageCorrupt), store.lease(layer):
        pass
    for file in (tmp_path / "layers/parts").glob("*/*.json"):
        file.write_text("{")
    assert store.find(None, "key") is None


async def test_a_scratch_folder_is_removed_with_its_build(tmp_path: Path) -> None:
    store = LayerStore(tmp_path / "layers", 10)
    with pytest.raises(RuntimeError):
        async with store.building(None, "key") as folder:
            (folder / "junk").mkdir()
            raise RuntimeError
    assert not list((tmp_path / "layers/building").iterdir())

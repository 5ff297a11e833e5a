"""An engine keeps the images that it uses from being pruned."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine, Settings
from emberbox.files.locks import is_locked, take_lock
from emberbox.images import Image
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def image(tmp_path: Path) -> Image:
    locks = tmp_path / "images/locks"
    locks.mkdir(parents=True)
    files = {name: tmp_path / name for name in ("kernel", "initramfs", "rootfs")}
    for file in files.values():
        file.touch()
    return Image(runtime="toy", key="abc", sizes={}, digests={}, **files)


async def test_an_image_is_leased_until_the_engine_ends(tmp_path: Path, image: Image) -> None:
    engine = Engine(Settings(data=tmp_path))
    lease = tmp_path / "images/locks/image-abc.lock"
    await engine._leases.hold(image.key, partial(engine.images.lease, image))
    await engine._leases.hold(image.key, partial(engine.images.lease, image))
    assert is_locked(lease)
    assert not is_locked(tmp_path / "images/locks/store.lock"), "others may build"
    engine._leases.close()
    assert not is_locked(lease)


async def test_a_lease_waits_for_pruning_to_end(tmp_path: Path, image: Image) -> None:
    engine = Engine(Settings(data=tmp_path))
    with take_lock(tmp_path / "images/locks/store.lock", what="pruning images"):
        leasing = asyncio.create_task(engine._leases.hold(image.key, partial(engine.images.lease, image)))
        await asyncio.sleep(0.2)
        assert not leasing.done()
    await asyncio.wait_for(leasing, PATIENCE_S)
    engine._leases.close()

"""A cold boot with a private copy of the root image, as it is done without snapshots."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.bench.samplers.base import HELLO, BenchError, Unavailable, checked, ms_since, settle
from emberbox.images import ImageStore
from emberbox.sandbox import Engine

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.images import Image
    from emberbox.images.rootfs.recipe import BuildableRuntime


class PrivateImages(ImageStore):
    """Finds images as their store does, but with another root filesystem.

    Attributes:
        rootfs: The copy that the next machine boots from; None for the store's own.
    """

    rootfs: Path | None = None

    def find(self, runtime: BuildableRuntime) -> Image | None:
        """Return the runtime's image with the copy in it; None when it was not built."""
        image = super().find(runtime)
        return image if image is None or self.rootfs is None else replace(image, rootfs=self.rootfs)


class ColdBoot:
    """Copy the image, boot, wait for the agent, start Python, get its output."""

    name = "cold"
    label = "cold boot, private copy of the image"
    note = (
        "the root image is copied byte by byte, then a VM is booted from the copy; "
        "python3 is started afresh in it"
    )

    def __init__(self, settings: Settings, runtime: str) -> None:
        self._settings = settings
        self._runtime = runtime
        self._engine = Engine(settings)
        self._images = PrivateImages(settings.data / "images")
        self._folder: Path | None = None

    async def open(self) -> None:
        """Start an engine of its own and boot once."""
        if self._images.find(self._engine.runtimes.get(self._runtime)) is None:
            raise Unavailable(f"the image of {self._runtime} was not built")
        await self._engine.__aenter__()
        self._engine.images = self._images
        self._folder = Path(
            await asyncio.to_thread(tempfile.mkdtemp, prefix="bench-", dir=self._settings.data)
        )
        self._folder.chmod(0o755)  # the VMM runs as another user
        await self.sample()

    async def sample(self) -> float:
        """Boot once, in milliseconds, the copy included."""
        if self._folder is None:
            raise BenchError("not open")
        self._images.rootfs = None
        image = self._images.find(self._engine.runtimes.get(self._runtime))
        if image is None:
            raise BenchError("the image is gone")
        copy = self._folder / "rootfs.ext4"
        try:
            begun = time.perf_counter()
            await asyncio.to_thread(copy_bytes, image.rootfs, copy)
            self._images.rootfs = copy
            async with self._engine.sandbox(self._runtime, cold=True) as sandbox:
                checked(await sandbox.run(HELLO))
                elapsed_ms = ms_since(begun)
            await settle(self._engine)
        finally:
            copy.unlink(missing_ok=True)
        return elapsed_ms

    async def close(self) -> None:
        """End the engine and remove the copies' folder."""
        await self._engine.close()
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def copy_bytes(source: Path, target: Path) -> None:
    """Copy a file's bytes; file systems that could share blocks do not get the chance to."""
    with source.open("rb") as reader, target.open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1024 * 1024)
    target.chmod(0o644)

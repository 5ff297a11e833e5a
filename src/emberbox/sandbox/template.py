"""Templates: machines booted and warmed once, frozen, and cloned from then on.

A template lies in `<data>/templates/<key>/`: `memory`, `state`, `template.json`. Its key is the hash of all that went in, so a
template is never stale: a change of any part makes another key. It is built aside under a lock and put in place by one rename.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import platform
import secrets
import shutil
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError, InvalidInput, NoSpace
from emberbox.model import MIB
from emberbox.sandbox.warming import warm
from emberbox.vmm.acceleration import cpu_model
from emberbox.vmm.base import Snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox.images import Image, Progress
    from emberbox.runtimes import Runtime
    from emberbox.sandbox.layers import Layer
    from emberbox.sandbox.machines import MachineMaker, MachineSize
    from emberbox.vmm.base import DriverReport, LoadedSnapshot, SnapshotDriver

_log = logging.getLogger(__name__)

FORMAT = 1
"""Goes into every key: raise it when the way in which templates are built changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateRecord:
    """What is kept beside a template's files.

    Args:
        key: The folder's name.
        runtime: The runtime's name.
        image: The image's key.
        vcpus, memory_mib: The size that its clones have.
        driver, vmm_version, accelerator: What it was made with and can be restored with.
        waiting: Whether an interpreter waits in it.
        built_at: Unix time in seconds.
        build_s: How long it took.
        stored_bytes: What it takes on disk.
        layers: Digests of the layers over its image.
    """

    key: str
    runtime: str
    image: str
    vcpus: int
    memory_mib: int
    driver: str
    vmm_version: str
    accelerator: str
    waiting: bool
    built_at: float
    build_s: float
    stored_bytes: int
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template that is open for cloning."""

    record: TemplateRecord
    runtime: Runtime
    image: Image
    size: MachineSize
    snapshot: LoadedSnapshot
    layers: tuple[Layer, ...] = ()


class TemplateStore:
    """Finds, builds and opens templates.

    Args:
        root: `<data>/templates`; made when missing.
        maker: Boots the machine that becomes a template.
        driver: Must be able to take snapshots.
        name: The driver's name.
        report: What probing the driver found.
    """

    def __init__(self, root: Path, maker: MachineMaker, driver: SnapshotDriver, name: str, report: DriverReport) -> None:
        self._root = root
        self._maker = maker
        self._driver = driver
        self._driver_name = name
        self._report = report
        self._processor = cpu_model() if report.accelerator == "kvm" else platform.machine()
        self._open: dict[str, Template] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def key(self, runtime: Runtime, image: Image, size: MachineSize, layers: tuple[Layer, ...] = ()) -> str:
        """Return the hash of all that goes into a template."""
        parts = {
            "format": FORMAT,
            "image": image.key,
            "runtime": runtime.fingerprint,
            "size": asdict(size),
            "driver": self._driver_name,
            "vmm": self._report.version,
            "accelerator": self._report.accelerator,
            "cpu": self._processor,
            **({"layers": [layer.digest for layer in layers]} if layers else {}),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    async def get(
        self,
        runtime: Runtime,
        image: Image,
        size: MachineSize,
        progress: Progress | None = None,
        *,
        layers: tuple[Layer, ...] = (),
    ) -> Template:
        """Return the template, opened; builds it first when there is none. Calls for the same one share the work.

        Raises:
            ImageBuildFailed: It could not be warmed; the message says why.
            VmmError, GuestError, NoSpace: With nothing half-built left.
        """
        key = self.key(runtime, image, size, layers)
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._open:
                self._open[key] = await self._find_or_build(key, runtime, image, size, progress, layers)
            return self._open[key]

    async def _find_or_build(
        self,
        key: str,
        runtime: Runtime,
        image: Image,
        size: MachineSize,
        progress: Progress | None,
        layers: tuple[Layer, ...],
    ) -> Template:
        record = self._read(key)
        if record is not None:
            try:
                return await self._opened(record, runtime, image, size, layers)
            except EmberboxError as error:
                _log.warning("template %s is unusable and is built again: %s", key, error, extra={"action": "template.corrupt"})
        async with self._building(key) as found:
            if found is None or record is not None:
                found = await self._build(key, runtime, image, size, progress, layers)
        return await self._opened(found, runtime, image, size, layers)

    async def _opened(
        self, record: TemplateRecord, runtime: Runtime, image: Image, size: MachineSize, layers: tuple[Layer, ...]
    ) -> Template:
        folder = self._root / record.key
        snapshot = Snapshot(memory=folder / "memory", state=folder / "state", vmm_version=record.vmm_version)
        loaded = await self._driver.open_snapshot(snapshot)
        return Template(record=record, runtime=runtime, image=image, size=size, snapshot=loaded, layers=layers)

    @asynccontextmanager
    async def _building(self, key: str) -> AsyncIterator[TemplateRecord | None]:
        """Hold the key's lock against other processes; yields what one of them has built meanwhile."""
        self._root.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = os.open(self._root / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            yield self._read(key)
        finally:
            os.close(lock)

    def _read(self, key: str) -> TemplateRecord | None:
        return read_record(self._root / key)

    async def _build(
        self,
        key: str,
        runtime: Runtime,
        image: Image,
        size: MachineSize,
        progress: Progress | None,
        layers: tuple[Layer, ...],
    ) -> TemplateRecord:
        begun = time.monotonic()
        aside = self._root / f"building-{key}-{secrets.token_hex(4)}"
        for leftover in self._root.glob(f"building-{key}-*"):  # the lock is ours: whoever made these is dead
            shutil.rmtree(leftover, ignore_errors=True)
        _check_space(self._root, size.memory_mib)
        aside.mkdir(mode=0o700)
        try:
            paths = tuple(layer.path for layer in layers)
            live = await self._maker.boot(image, size, memory=aside / "memory", layers=paths)
            try:
                if progress is not None:
                    progress.step("warming the template", None)
                waiting = await warm(live.guest, runtime)
                snapshot = await self._driver.snapshot(live.machine, aside / "state")
            finally:
                await live.undo.close()
            record = TemplateRecord(
                key=key, runtime=runtime.name, image=image.key, vcpus=size.vcpus, memory_mib=size.memory_mib,
                driver=self._driver_name, vmm_version=snapshot.vmm_version, accelerator=self._report.accelerator or "",
                waiting=waiting, built_at=time.time(), build_s=time.monotonic() - begun, stored_bytes=_stored_bytes(aside),
                layers=tuple(layer.digest for layer in layers),
            )  # fmt: skip
            (aside / "template.json").write_text(json.dumps(asdict(record), indent=1))
            await asyncio.to_thread(_put_in_place, aside, self._root / key)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        _log.info("template %s of %s built in %.1f s", key, runtime.name, record.build_s, extra={"action": "template.built"})
        return record

    async def close(self) -> None:
        """Close what is open; machines that live go on."""
        templates, self._open = list(self._open.values()), {}
        for template in templates:
            await template.snapshot.close()


def read_record(folder: Path) -> TemplateRecord | None:
    """Return the record of the template in `folder`; None where there is none, or none that can be read and is of this folder."""
    try:
        record = TemplateRecord(**json.loads((folder / "template.json").read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        _log.warning("template %s cannot be read: %s", folder.name, error, extra={"action": "template.corrupt"})
        return None
    return record if record.key == folder.name else None


def _check_space(root: Path, memory_mib: int) -> None:
    free = shutil.disk_usage(root).free
    if free < memory_mib * MIB:
        raise NoSpace(
            f"a template needs up to {memory_mib} MiB under {root}; {free // MIB} MiB are free: free some or set EMBERBOX_DATA"
        )


def _stored_bytes(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.iterdir())


def _put_in_place(aside: Path, target: Path) -> None:
    for file in aside.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    if target.exists():
        shutil.rmtree(target)
    aside.rename(target)


def check_size(size: MachineSize) -> None:
    """Raise `InvalidInput` for a size that no runtime can use."""
    if not 1 <= size.vcpus <= 32:
        raise InvalidInput(f"vcpus must be 1 to 32, not {size.vcpus}")
    if not 96 <= size.memory_mib <= 65_536:
        raise InvalidInput(f"memory must be 96 to 65,536 MiB, not {size.memory_mib}")

"""The templates of a data folder: found, built and opened.

A template is a machine that was booted and warmed once, frozen, and is cloned from then on. It lies
in `<data>/templates/<key>/`: `memory`, `state`, `template.json`. Its key is the hash of all that went
in, so a template is never stale: a change of any part makes another key. It is built aside under a
lock and put in place by one rename.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import platform
import secrets
import shutil
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from emberbox.errors import EmberboxError, NoSpace
from emberbox.files.atomic import sync
from emberbox.files.locks import wait_for_lock
from emberbox.model import MIB
from emberbox.sandbox.machines.plan import MachinePlan, MachineSize
from emberbox.sandbox.templates.stored import TemplateRecord, read_record, write_record
from emberbox.sandbox.templates.warming import warm
from emberbox.vmm.base import DriverReport, LoadedSnapshot, Snapshot, SnapshotDriver, part
from emberbox.vmm.kvm.acceleration import cpu_model

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images import Image, Progress
    from emberbox.runtimes import Runtime
    from emberbox.sandbox.machines.making import MachineMaker
    from emberbox.sandbox.packages.layers import Layer

_log = logging.getLogger(__name__)

FORMAT = 2
"""Goes into every key: raise it when the way in which templates are built changes."""
_OTHERS_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatePlan:
    """What a template is made of.

    Args:
        runtime: What warms it.
        image: What it boots.
        size: How large it is.
        layers: What lies over its image, the last one on top.
    """

    runtime: Runtime
    image: Image
    size: MachineSize
    layers: tuple[Layer, ...] = ()

    @property
    def machine(self) -> MachinePlan:
        """A machine of this kind; callers `replace` what is its own."""
        layers = tuple(layer.path for layer in self.layers)
        return MachinePlan(image=self.image, size=self.size, layers=layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template(TemplatePlan):
    """A template that is open for cloning."""

    record: TemplateRecord
    snapshot: LoadedSnapshot


class TemplateStore:
    """Finds, builds and opens templates.

    Args:
        root: `<data>/templates`; made when missing.
        maker: Boots the machine that becomes a template.
        driver: Must be able to take snapshots.
        name: The driver's name.
        report: What probing the driver found.
    """

    def __init__(
        self, root: Path, maker: MachineMaker, driver: SnapshotDriver, name: str, report: DriverReport
    ) -> None:
        self._root = root
        self._maker = maker
        self._driver = driver
        self._basis: dict[str, Any] = {
            "format": FORMAT,
            "driver": name,
            "vmm": report.version,
            "accelerator": report.accelerator,
            "cpu": cpu_model() if report.accelerator == "kvm" else platform.machine(),
        }
        self._open: dict[str, Template] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def key(self, plan: TemplatePlan) -> str:
        """Return the hash of all that goes into a template."""
        parts = {
            **self._basis,
            "image": plan.image.key,
            "runtime": plan.runtime.fingerprint,
            "size": asdict(plan.size),
            **({"layers": [layer.digest for layer in plan.layers]} if plan.layers else {}),
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]

    async def get(self, plan: TemplatePlan, progress: Progress | None = None) -> Template:
        """Return the template, opened; builds it first when there is none.

        Calls for the same one share the work.

        Raises:
            ImageBuildFailed: It could not be warmed; the message says why.
            VmmError, GuestError, NoSpace: With nothing half-built left.
            DataFolderBusy: Another process has been building it for half an hour.
        """
        key = self.key(plan)
        async with self._locks.setdefault(key, asyncio.Lock()):
            if key not in self._open:
                self._open[key] = await self._find_or_build(key, plan, progress)
            return self._open[key]

    async def _find_or_build(self, key: str, plan: TemplatePlan, progress: Progress | None) -> Template:
        record = read_record(self._root / key)
        if record is not None:
            try:
                return await self._opened(record, plan)
            except EmberboxError as error:
                told = "template %s is unusable and is built again: %s"
                _log.warning(told, key, error, extra={"action": "template.corrupt"})
        self._root.mkdir(mode=0o755, parents=True, exist_ok=True)
        what, waiting = "building the same template", None
        if progress is not None:
            waiting = partial(progress.step, f"waiting for another process that is {what}", None)
        lock = self._root / f"{key}.lock"
        with await wait_for_lock(lock, what=what, timeout_s=_OTHERS_S, waiting=waiting):
            found = read_record(self._root / key)  # what another process has built meanwhile
            if found is None or record is not None:
                found = await self._build(key, plan, progress)
        return await self._opened(found, plan)

    async def _build(self, key: str, plan: TemplatePlan, progress: Progress | None) -> TemplateRecord:
        """Boot, warm and freeze it aside, and put it in place; the caller holds the lock of its key."""
        for leftover in self._root.glob(f"building-{key}-*"):  # the lock is ours: whoever made these is dead
            shutil.rmtree(leftover, ignore_errors=True)
        _check_space(self._root, plan.size.memory_mib)
        aside = self._root / f"building-{key}-{secrets.token_hex(4)}"
        aside.mkdir(mode=0o700)
        try:
            record = await self._freeze(key, plan, aside, progress)
            write_record(aside, record)
            await asyncio.to_thread(_put_in_place, aside, self._root / key)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        told = "template %s of %s built in %.1f s"
        _log.info(told, key, record.runtime, record.build_s, extra={"action": "template.built"})
        return record

    async def _freeze(
        self, key: str, plan: TemplatePlan, aside: Path, progress: Progress | None
    ) -> TemplateRecord:
        begun = time.monotonic()
        live = await self._maker.boot(replace(plan.machine, memory=aside / "memory"))
        try:
            if progress is not None:
                progress.step("warming the template", None)
            waiting = await warm(live.guest, plan.runtime)
            await part(live.machine, live.guest.close)
            snapshot = await self._driver.snapshot(live.machine, aside / "state")
        finally:
            await live.undo.close()
        return TemplateRecord(
            key=key,
            runtime=plan.runtime.name,
            image=plan.image.key,
            vcpus=plan.size.vcpus,
            memory_mib=plan.size.memory_mib,
            driver=self._basis["driver"],
            vmm_version=snapshot.vmm_version,
            accelerator=self._basis["accelerator"] or "",
            waiting=waiting,
            built_at=time.time(),
            build_s=time.monotonic() - begun,
            stored_bytes=sum(file.stat().st_blocks * 512 for file in aside.iterdir()),
            layers=tuple(layer.digest for layer in plan.layers),
        )

    async def _opened(self, record: TemplateRecord, plan: TemplatePlan) -> Template:
        folder = self._root / record.key
        snapshot = Snapshot(memory=folder / "memory", state=folder / "state", vmm_version=record.vmm_version)
        return Template(
            record=record,
            snapshot=await self._driver.open_snapshot(snapshot),
            runtime=plan.runtime,
            image=plan.image,
            size=plan.size,
            layers=plan.layers,
        )

    async def forget(self, image: str) -> None:
        """Close the templates of an image that nothing uses any more; machines that live go on.

        Args:
            image: The image's key.
        """
        for key in [key for key, template in self._open.items() if template.image.key == image]:
            await self._open.pop(key).snapshot.close()

    async def close(self) -> None:
        """Close what is open; machines that live go on."""
        templates, self._open = list(self._open.values()), {}
        for template in templates:
            await template.snapshot.close()


def _check_space(root: Path, memory_mib: int) -> None:
    free_mib = shutil.disk_usage(root).free // MIB
    if free_mib < memory_mib:
        needed = f"a template needs up to {memory_mib} MiB under {root}; {free_mib} MiB are free"
        raise NoSpace(f"{needed}: free some or set EMBERBOX_DATA")


def _put_in_place(aside: Path, target: Path) -> None:
    for file in aside.iterdir():
        sync(file)
    if target.exists():
        shutil.rmtree(target)
    aside.rename(target)

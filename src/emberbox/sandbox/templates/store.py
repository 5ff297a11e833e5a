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
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from emberbox.errors import ImageError, NoSpace, VmmError
from emberbox.files.atomic import sync
from emberbox.files.locks import wait_for_lock
from emberbox.model import MIB
from emberbox.sandbox.templates.stored import (
    TemplateRecord,
    lease_file,
    mark_used,
    read_record,
    trim_templates,
    write_record,
)
from emberbox.sandbox.templates.template import Template, TemplatePlan
from emberbox.sandbox.templates.warming import warm
from emberbox.turns import Turns
from emberbox.vmm.base import DriverReport, Snapshot, SnapshotDriver, part
from emberbox.vmm.kvm.acceleration import cpu_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from emberbox.files.locks import Lock
    from emberbox.images import Progress
    from emberbox.sandbox.machines.making import MachineMaker
    from emberbox.sandbox.templates.opened import OpenTemplates

_log = logging.getLogger(__name__)

FORMAT = 2
"""Goes into every key: raise it when the way in which templates are built changes."""
_OTHERS_S = 1800.0
_REMOVAL_S = 60.0


class TemplateStore:
    """Finds, builds and opens templates.

    Args:
        root: `<data>/templates`; made when missing.
        maker: Boots the machine that becomes a template.
        driver: Must be able to take snapshots.
        name: The driver's name.
        report: What probing the driver found.
        room_mib: Room for all of them on disk; 0 for no bound.
        opened: Those that are open.
        builds: How many are made at once. Those for whom they are made take turns, and none has more than
            half of them made at once.
    """

    def __init__(
        self,
        root: Path,
        maker: MachineMaker,
        driver: SnapshotDriver,
        name: str,
        report: DriverReport,
        room_mib: int,
        opened: OpenTemplates,
        builds: int,
    ) -> None:
        self._root = root
        self._maker = maker
        self._driver = driver
        self._room_mib = room_mib
        self._opened = opened
        opened.given_up = self._trim
        self._basis: dict[str, Any] = {
            "format": FORMAT,
            "driver": name,
            "vmm": report.version,
            "accelerator": report.accelerator,
            "cpu": cpu_model() if report.accelerator == "kvm" else platform.machine(),
        }
        self._locks: dict[str, asyncio.Lock] = {}
        self._turns = Turns(builds, each=max(1, builds // 2))

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

        Calls for the same one share the work. It may be closed for another as soon as the caller
        lets go of the loop without having called `hold`.

        Raises:
            ImageBuildFailed: It could not be warmed; the message says why.
            VmmError, GuestError, NoSpace: With nothing half-built left.
            CapacityExhausted: There was no room for it, or for making it, for too long.
            DataFolderBusy: Another process has been building it for half an hour.
        """
        key = self.key(plan)
        if (found := self._opened.get(key)) is not None:
            return found
        lock = self._locks.setdefault(key, asyncio.Lock())
        if lock.locked() and progress is not None:
            progress.step(f"waiting for {plan}, which is being made", None)
        async with lock:
            found = self._opened.get(key)
            return found if found is not None else await self._leased(key, plan, progress)

    def hold(self, template: Template) -> Callable[[], None]:
        """Keep a template open; returns what ends that, to be called once."""
        return self._opened.hold(template)

    async def _leased(self, key: str, plan: TemplatePlan, progress: Progress | None) -> Template:
        """Find or build and open it, and keep it on disk from then on."""
        self._root.mkdir(mode=0o755, parents=True, exist_ok=True)
        file = lease_file(self._root, key)
        lease = await wait_for_lock(file, what="removing the template", timeout_s=_REMOVAL_S, shared=True)
        try:
            template, built = await self._find_or_build(key, plan, lease, progress)
        except BaseException:
            lease.release()
            raise
        if built:
            let_go = self.hold(template)
            try:
                await self._trim()
            finally:
                let_go()
        return template

    async def _find_or_build(
        self, key: str, plan: TemplatePlan, lease: Lock, progress: Progress | None
    ) -> tuple[Template, bool]:
        """Return the template, opened, and whether it was built."""
        record = read_record(self._root / key)
        if record is not None:
            try:
                return await self._open(record, plan, lease, progress), False
            except (ImageError, VmmError) as error:
                told = "template %s is unusable and is built again: %s"
                _log.warning(told, key, error, extra={"action": "template.corrupt"})
        what, waiting = f"making {plan}", None
        if progress is not None:
            waiting = partial(progress.step, f"waiting for another process that is {what}", None)
        lock = self._root / f"{key}.lock"
        with await wait_for_lock(lock, what=what, timeout_s=_OTHERS_S, waiting=waiting):
            found = read_record(self._root / key)  # what another process has built meanwhile
            if found is None or record is not None:
                async with self._turns.place(plan.scope):
                    found = await self._build(key, plan, progress)
        return await self._open(found, plan, lease, progress), True

    async def _trim(self) -> None:
        """Remove what has no room on disk any more; what cannot be removed stays, and is logged."""
        try:
            await asyncio.to_thread(trim_templates, self._root, self._room_mib)
        except OSError as error:
            _log.warning("templates cannot be removed: %s", error, extra={"action": "template.not_removed"})

    async def _build(self, key: str, plan: TemplatePlan, progress: Progress | None) -> TemplateRecord:
        """Boot, warm and freeze it aside, and put it in place; the caller holds the lock of its key."""
        if progress is not None:
            progress.step(f"making {plan}", None)
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
            scope=plan.scope,
        )

    async def _open(
        self, record: TemplateRecord, plan: TemplatePlan, lease: Lock, progress: Progress | None
    ) -> Template:
        folder = self._root / record.key
        snapshot = Snapshot(memory=folder / "memory", state=folder / "state", vmm_version=record.vmm_version)
        async with self._opened.opening(record.key, record.scope, record.stored_bytes, progress) as take_in:
            template = Template(
                record=record,
                snapshot=await self._driver.open_snapshot(snapshot),
                runtime=plan.runtime,
                image=plan.image,
                size=plan.size,
                layers=plan.layers,
                scope=record.scope,
            )
            take_in(template, lease)
        mark_used(self._root, record.key)
        return template

    async def forget(self, image: str) -> None:
        """Close the templates of an image that nothing uses any more; machines that live go on.

        Args:
            image: The image's key.
        """
        while keys := self._opened.of_image(image):
            await self._opened.close(keys[0])

    async def close(self) -> None:
        """Close what is open; machines that live go on."""
        await self._opened.close_all()


def _check_space(root: Path, memory_mib: int) -> None:
    free_mib = shutil.disk_usage(root).free // MIB
    if free_mib < memory_mib:
        needed = f"a template needs up to {memory_mib} MiB in the data folder, where {free_mib} MiB are free"
        raise NoSpace(f"{needed}: free some, or move it by EMBERBOX_DATA", detail=str(root))


def _put_in_place(aside: Path, target: Path) -> None:
    for file in aside.iterdir():
        sync(file)
    if target.exists():
        shutil.rmtree(target)
    aside.rename(target)

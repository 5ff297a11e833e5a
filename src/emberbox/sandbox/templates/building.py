"""Building a template: a machine is booted, warmed and frozen aside, and put in place by one rename."""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from emberbox.errors import NoSpace
from emberbox.files.atomic import sync
from emberbox.model import MIB
from emberbox.sandbox.templates.record import TemplateRecord, write_record
from emberbox.sandbox.templates.warming import warm

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images import Progress
    from emberbox.sandbox.machines.making import MachineMaker
    from emberbox.sandbox.templates.template import TemplatePlan
    from emberbox.vmm.base import DriverReport, SnapshotDriver

_log = logging.getLogger(__name__)


class TemplateBuilder:
    """Builds templates; arguments as for `TemplateStore`."""

    def __init__(
        self, root: Path, maker: MachineMaker, driver: SnapshotDriver, name: str, report: DriverReport
    ) -> None:
        self._root = root
        self._maker = maker
        self._driver = driver
        self._driver_name = name
        self._report = report

    async def build(self, key: str, plan: TemplatePlan, progress: Progress | None) -> TemplateRecord:
        """Build the template and put it in place; the caller holds the lock of its key.

        Raises:
            ImageBuildFailed: It could not be warmed; the message says why.
            VmmError, GuestError, NoSpace: With nothing half-built left.
        """
        begun = time.monotonic()
        for leftover in self._root.glob(f"building-{key}-*"):  # the lock is ours: whoever made these is dead
            shutil.rmtree(leftover, ignore_errors=True)
        _check_space(self._root, plan.size.memory_mib)
        aside = self._root / f"building-{key}-{secrets.token_hex(4)}"
        aside.mkdir(mode=0o700)
        try:
            vmm_version, waiting = await self._freeze(plan, aside, progress)
            record = self._record(key, plan, aside, begun, vmm_version=vmm_version, waiting=waiting)
            write_record(aside, record)
            await asyncio.to_thread(_put_in_place, aside, self._root / key)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        told = "template %s of %s built in %.1f s"
        _log.info(told, key, record.runtime, record.build_s, extra={"action": "template.built"})
        return record

    async def _freeze(self, plan: TemplatePlan, aside: Path, progress: Progress | None) -> tuple[str, bool]:
        """Return the version of the VMM that froze it, and whether an interpreter waits in it."""
        live = await self._maker.boot(replace(plan.machine, memory=aside / "memory"))
        try:
            if progress is not None:
                progress.step("warming the template", None)
            waiting = await warm(live.guest, plan.runtime)
            await live.part()
            snapshot = await self._driver.snapshot(live.machine, aside / "state")
        finally:
            await live.undo.close()
        return snapshot.vmm_version, waiting

    def _record(
        self, key: str, plan: TemplatePlan, aside: Path, begun: float, *, vmm_version: str, waiting: bool
    ) -> TemplateRecord:
        return TemplateRecord(
            key=key,
            runtime=plan.runtime.name,
            image=plan.image.key,
            vcpus=plan.size.vcpus,
            memory_mib=plan.size.memory_mib,
            driver=self._driver_name,
            vmm_version=vmm_version,
            accelerator=self._report.accelerator or "",
            waiting=waiting,
            built_at=time.time(),
            build_s=time.monotonic() - begun,
            stored_bytes=sum(file.stat().st_blocks * 512 for file in aside.iterdir()),
            layers=tuple(layer.digest for layer in plan.layers),
        )


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

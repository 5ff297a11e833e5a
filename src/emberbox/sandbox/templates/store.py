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
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError
from emberbox.files.locks import wait_for_lock
from emberbox.sandbox.templates.building import TemplateBuilder
from emberbox.sandbox.templates.record import read_record
from emberbox.sandbox.templates.template import Template
from emberbox.vmm.base import Snapshot
from emberbox.vmm.kvm.acceleration import cpu_model

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images import Progress
    from emberbox.sandbox.machines.making import MachineMaker
    from emberbox.sandbox.templates.record import TemplateRecord
    from emberbox.sandbox.templates.template import TemplatePlan
    from emberbox.vmm.base import DriverReport, SnapshotDriver

_log = logging.getLogger(__name__)

FORMAT = 2
"""Goes into every key: raise it when the way in which templates are built changes."""
_OTHERS_S = 1800.0


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
        self._driver = driver
        self._builder = TemplateBuilder(root, maker, driver, name, report)
        self._basis = {
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
                found = await self._builder.build(key, plan, progress)
        return await self._opened(found, plan)

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

    async def close(self) -> None:
        """Close what is open; machines that live go on."""
        templates, self._open = list(self._open.values()), {}
        for template in templates:
            await template.snapshot.close()

"""The engine: everything between a call and a program in a microVM of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from emberbox.config import Settings, load_settings
from emberbox.errors import (
    DataFolderBusy,
    EngineClosed,
    GuestError,
    InvalidInput,
    PackagesFailed,
    RequirementMissing,
    VmmError,
)
from emberbox.images import Image, ImageStore
from emberbox.model import Limits, RunResult, RunStatus
from emberbox.runtimes import Runtime, discover, runtime_folders
from emberbox.sandbox.compile_cache import CompileCache
from emberbox.sandbox.leftovers import end_leftovers
from emberbox.sandbox.machines import MachineMaker, MachineSize
from emberbox.sandbox.packages import request_of
from emberbox.sandbox.pool import Pool, PoolStatus
from emberbox.sandbox.provision import Provision
from emberbox.sandbox.runfolder import SLOTS, RunFolder
from emberbox.sandbox.sandbox import Sandbox
from emberbox.sandbox.slots import Slots
from emberbox.sandbox.template import Template, TemplateStore, check_size
from emberbox.tasks import TaskKeeper, UndoStack
from emberbox.vmm.base import SnapshotDriver
from emberbox.vmm.registry import choose_driver

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from emberbox.images import Progress
    from emberbox.model import PackagesResult
    from emberbox.sandbox.compile_cache import ScopedCache
    from emberbox.sandbox.layers import Layer
    from emberbox.sandbox.machines import LiveMachine
    from emberbox.sandbox.packages import PackageRequest
    from emberbox.vmm.base import Driver, DriverReport

    Packages = PackageRequest | Path | str | Mapping[str, Sequence[str]]

_log = logging.getLogger(__name__)

LEASE_S = 30.0
"""How long pruning, which takes a moment, may hold up the use of an image."""
OVERHEAD_MIB = 64
"""About what a machine takes besides its guest's memory; for the default of `capacity.machines`."""


class Engine:
    """Runs programs in microVMs. Use it as `async with Engine() as engine`.

    Any number of engines, in one process or many, may share a data folder. Entering cleans up what a killed engine left.

    Args:
        settings: None reads them from the file and the environment.
        **flags: Values that win over all, such as `data=`; see `load_settings`.
    """

    def __init__(self, settings: Settings | None = None, **flags: Any) -> None:
        self.settings = settings if settings is not None else load_settings(**flags)
        self.runtimes = discover(runtime_folders(self.settings.data, self.settings.runtimes))
        self.images = ImageStore(self.settings.data / "images")
        self._programs = CompileCache(self.settings.data / "compiled", self.settings.compile)
        self._undo = UndoStack()
        self._keeper = TaskKeeper()
        self._leases = ExitStack()
        self._leased: set[str] = set()
        self._pools: dict[str, Pool] = {}
        self._live: set[Sandbox] = set()
        self._maker: MachineMaker | None = None
        self._templates: TemplateStore | None = None
        self._provision: Provision | None = None
        self._report: DriverReport | None = None

    # -- life ------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._undo.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _start(self) -> None:
        driver, self._report = await _choose(self.settings)
        folder = await RunFolder.claim(self.settings.data / "run", end_leftovers)
        self._undo.push_call(folder.release)
        self._undo.push_call(self._leases.close)
        slots = Slots(folder.number * SLOTS, self._machines())
        self._maker = MachineMaker(driver, folder, slots, self.settings, self._launches())
        self._provision = Provision(self.settings.data, self.settings.packages, self._maker, self.image)
        self._undo.push_call(self._provision.close)
        if isinstance(driver, SnapshotDriver):
            self._templates = TemplateStore(self.settings.data / "templates", self._maker, driver, driver.name, self._report)
            self._undo.push(self._templates.close)
        self._undo.push(self._keeper.settle)
        self._undo.push(self._end_machines)
        _log.info("engine started: %s", self._report.reason, extra={"action": "engine.started"})

    async def close(self) -> None:
        """End every sandbox and give back all that was held. Repeating is harmless; finishes even when cancelled."""
        self._maker, maker = None, self._maker
        await self._undo.close()
        if maker is not None:
            _log.info("engine ended", extra={"action": "engine.ended"})

    async def _end_machines(self) -> None:
        pools, self._pools = list(self._pools.values()), {}
        for pool in pools:
            await pool.close()
        for sandbox in list(self._live):
            await sandbox.close()

    def _machines(self) -> int:
        wanted = self.settings.capacity.machines
        if wanted == 0:
            total_mib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1024 * 1024)
            wanted = max(2, int(total_mib * 0.8) // (256 + OVERHEAD_MIB))
        return min(wanted, SLOTS)

    def _launches(self) -> int:
        return self.settings.capacity.launches or max(2, len(os.sched_getaffinity(0)) * 2)

    @property
    def driver(self) -> DriverReport:
        """What the machines run on, and why. Raises `EngineClosed` outside of `async with`."""
        if self._report is None:
            raise EngineClosed("the engine was not started; use it with 'async with'")
        return self._report

    @property
    def _making(self) -> MachineMaker:
        if self._maker is None:
            raise EngineClosed("the engine is not running; use it with 'async with'")
        return self._maker

    # -- images and templates --------------------------------------------------------------------------------

    async def image(self, runtime: Runtime, progress: Progress | None = None) -> Image:
        """Return the runtime's image; builds it first when there is none, which takes up to minutes."""
        image = self.images.find(runtime) or await self.images.build(runtime, progress)
        if self._maker is not None:
            await self._lease(image)
        return image

    async def _lease(self, image: Image) -> None:
        """Keep the image from being pruned for as long as the engine runs."""
        deadline = time.monotonic() + LEASE_S
        while image.key not in self._leased:
            try:
                self._leases.enter_context(self.images.lease(image))
                self._leased.add(image.key)
            except DataFolderBusy:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)

    async def template(
        self, runtime: str, *, memory_mib: int | None = None, vcpus: int | None = None, progress: Progress | None = None
    ) -> Template:
        """Return the template of a runtime at a size, opened; builds image and template when there is none."""
        found = self.runtimes.get(runtime)
        return await self._template(found, _size(found, memory_mib, vcpus), progress)

    async def _template(self, runtime: Runtime, size: MachineSize, progress: Progress | None = None) -> Template:
        self._making  # noqa: B018  raises when the engine has ended
        image = await self.image(runtime, progress)
        return await self._template_of(runtime, image, size, await self._provided.baked(runtime, image), progress)

    async def _template_of(
        self, runtime: Runtime, image: Image, size: MachineSize, layers: tuple[Layer, ...], progress: Progress | None = None
    ) -> Template:
        if self._templates is None:
            raise InvalidInput("this driver takes no snapshots; use cold=True")
        return await self._templates.get(runtime, image, size, progress, layers=layers)

    async def _layers(
        self, runtime: Runtime, image: Image, packages: Packages | None, scope: str | None
    ) -> tuple[tuple[Layer, ...], PackagesResult | None]:
        """Return a sandbox's layers: those of the manifest, and on top what its script brings along, which is told of."""
        layers = await self._provided.baked(runtime, image)
        request = None if packages is None else await asyncio.to_thread(request_of, packages, runtime)
        if request is None or request.empty:
            return layers, None
        brought = await self._provided.layer(runtime, image, request, scope)
        return (*layers, brought), brought.result

    @property
    def _provided(self) -> Provision:
        if self._provision is None:
            raise EngineClosed("the engine was not started; use it with 'async with'")
        return self._provision

    # -- sandboxes -------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def sandbox(
        self,
        runtime: str,
        *,
        memory_mib: int | None = None,
        vcpus: int | None = None,
        disk_mib: int | None = None,
        limits: Limits | None = None,
        cold: bool = False,
        script_drive: Path | None = None,
        scope: str | None = None,
        packages: Packages | None = None,
    ) -> AsyncIterator[Sandbox]:
        """Open a sandbox: `async with engine.sandbox("python") as sandbox`.

        Args:
            runtime: Name or alias.
            memory_mib: Guest memory in MiB; None for the runtime's default.
            vcpus: Virtual CPUs; None for the runtime's default.
            disk_mib: Bound of what may be written, in guest memory; None for half of that.
            limits: Bounds of runs that name none; None for the runtime's defaults.
            cold: Boot instead of cloning.
            script_drive: Raw image of a file system, mounted read-only at /mnt/script; implies a cold boot.
            scope: Whose compiled programs and packages may be used again, such as the id of an API key; None for this library
                user's own.
            packages: What its programs may import besides: a requirements.txt or package.json, as a path or its text, or
                `{"pip": ["numpy==1.26.4"]}`. Installed once, by a VM of its own, and kept.

        Raises:
            PackagesFailed: The packages could not be installed.
            UnknownRuntime, InvalidInput, CapacityExhausted, VmmError, GuestError, ImageError: With nothing left behind.
        """
        sandbox = await self.open_sandbox(
            runtime, memory_mib=memory_mib, vcpus=vcpus, disk_mib=disk_mib, limits=limits, cold=cold, script_drive=script_drive,
            scope=scope, packages=packages,
        )  # fmt: skip
        try:
            yield sandbox
        finally:
            await sandbox.close()

    async def open_sandbox(
        self,
        runtime: str,
        *,
        memory_mib: int | None = None,
        vcpus: int | None = None,
        disk_mib: int | None = None,
        limits: Limits | None = None,
        cold: bool = False,
        script_drive: Path | None = None,
        scope: str | None = None,
        packages: Packages | None = None,
    ) -> Sandbox:
        """Open a sandbox that the caller closes; arguments as for `sandbox`."""
        found = self.runtimes.get(runtime)
        size = _size(found, memory_mib, vcpus)
        disk = disk_mib if disk_mib is not None else found.limits.disk_mib
        _check_disk(disk, size)
        waiting = False
        self._making  # noqa: B018  raises when the engine has ended
        image = await self.image(found)
        layers, brought = await self._layers(found, image, packages, scope)
        if cold or script_drive is not None:
            paths = tuple(layer.path for layer in layers)
            live = await self._making.boot(image, size, disk_mib=disk, layers=paths, script_drive=script_drive)
        else:
            template = await self._template_of(found, image, size, layers)
            live = await self._claim(template, disk)
            waiting = template.record.waiting
        default = Limits(timeout_s=found.limits.timeout_s, pids=found.limits.pids)
        sandbox = Sandbox(
            live,
            found,
            limits or default,
            waiting=waiting,
            programs=None if script_drive is not None else self._programs_of(found, image, scope, layers),
        )
        sandbox.packages = brought
        self._live.add(sandbox)
        live.undo.push_call(self._live.discard, sandbox)
        return sandbox

    def _programs_of(self, runtime: Runtime, image: Image, scope: str | None, layers: tuple[Layer, ...]) -> ScopedCache | None:
        """Return what may be used instead of compiling. A program may be made for the processor that compiled it."""
        if runtime.compile is None or not runtime.compile.cache:
            return None
        return self._programs.scoped(scope, image.key, self.driver.accelerator or "", *(layer.digest for layer in layers))

    async def _claim(self, template: Template, disk_mib: int | None) -> LiveMachine:
        if self.settings.pool.maximum > 0 and disk_mib == template.runtime.limits.disk_mib:
            return await self._pool(template).claim()
        return await self._clone(template, disk_mib)

    async def _clone(self, template: Template, disk_mib: int | None) -> LiveMachine:
        paths = tuple(layer.path for layer in template.layers)
        return await self._making.clone(template.snapshot, template.image, template.size, layers=paths, disk_mib=disk_mib)

    def _pool(self, template: Template) -> Pool:
        key = template.record.key
        if key not in self._pools:
            disk_mib = template.runtime.limits.disk_mib
            self._pools[key] = Pool(template, lambda: self._clone(template, disk_mib), self.settings.pool, self._keeper)
        return self._pools[key]

    async def warm_pool(
        self, runtime: str, count: int, *, memory_mib: int | None = None, vcpus: int | None = None, timeout_s: float = 300.0
    ) -> bool:
        """Keep `count` sandboxes ready from now on, and wait until they are.

        Returns:
            False when that took longer than `timeout_s`.

        Raises:
            InvalidInput: `pool.maximum` is lower.
        """
        if count > self.settings.pool.maximum:
            raise InvalidInput(f"at most {self.settings.pool.maximum} can be kept ready here; raise pool.maximum to keep {count}")
        pool = self._pool(await self.template(runtime, memory_mib=memory_mib, vcpus=vcpus))
        pool.keep(count)
        return await pool.full(timeout_s)

    def pools(self) -> list[PoolStatus]:
        """Return what each pool holds."""
        return [pool.status() for pool in self._pools.values()]

    @property
    def machines(self) -> int:
        """How many machines live: in use, in pools, and being made or ended."""
        return self._making.slots.in_use

    # -- one program -----------------------------------------------------------------------------------------

    async def run(
        self,
        code: str | bytes | Path,
        args: Sequence[str] = (),
        *,
        runtime: str,
        stdin: bytes | AsyncIterable[bytes] | None = None,
        env: Mapping[str, str] | None = None,
        files: Mapping[str, bytes | Path] | None = None,
        timeout_s: float | None = None,
        limits: Limits | None = None,
        name: str | None = None,
        memory_mib: int | None = None,
        vcpus: int | None = None,
        disk_mib: int | None = None,
        cold: bool = False,
        packages: Packages | None = None,
    ) -> RunResult:
        """Run one script in a sandbox of its own, which is thrown away. Arguments as for `Sandbox.run` and `sandbox`.

        Returns as soon as the result is known, with the files of the output folder in it; the machine is ended in the background.
        Packages that cannot be installed are a result, too.
        """
        begun = time.perf_counter()
        try:
            sandbox = await self.open_sandbox(
                runtime, memory_mib=memory_mib, vcpus=vcpus, disk_mib=disk_mib, limits=limits, cold=cold, packages=packages
            )
        except PackagesFailed as error:
            return RunResult(status=RunStatus.PACKAGES_FAILED, message=error.message, packages=error.result)
        try:
            result = await sandbox.run(code, args, stdin=stdin, env=env, files=files, timeout_s=timeout_s, name=name)
            result = await _with_files(sandbox, result)
        finally:
            self._keeper.start(sandbox.close(), f"close-{sandbox.id}")
        metrics = replace(result.metrics, total_ms=(time.perf_counter() - begun) * 1000)
        return replace(result, metrics=metrics, packages=sandbox.packages)


async def _with_files(sandbox: Sandbox, result: RunResult) -> RunResult:
    """Add what lies in the output folder; a sandbox that is lost meanwhile does not take the run's result with it."""
    if not result.left_files or sandbox.closed:
        return result
    try:
        outputs = await sandbox.outputs()
    except (GuestError, VmmError) as error:
        return replace(result, file_notes=(f"the files that it left are lost: {error.message}",))
    return replace(result, files=tuple(outputs.files), file_notes=tuple(outputs.notes))


async def _choose(settings: Settings) -> tuple[Driver, DriverReport]:
    driver, report = await choose_driver(settings.vmm, settings.data)
    if not report.usable:
        raise RequirementMissing(report.reason, mend=report.mend)
    return driver, report


def _size(runtime: Runtime, memory_mib: int | None, vcpus: int | None) -> MachineSize:
    size = MachineSize(
        vcpus=runtime.limits.vcpus if vcpus is None else vcpus,
        memory_mib=runtime.limits.memory_mib if memory_mib is None else memory_mib,
    )
    check_size(size)
    return size


def _check_disk(disk_mib: int | None, size: MachineSize) -> None:
    if disk_mib is not None and not 1 <= disk_mib <= size.memory_mib:
        raise InvalidInput(
            f"disk_mib must be 1 to the VM's memory ({size.memory_mib}), not {disk_mib}: files are kept in guest memory"
        )

"""The engine: everything between a call and a program in a microVM of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, Unpack

from emberbox.config import Settings, load_settings
from emberbox.errors import EngineClosed, InvalidInput, PackagesFailed
from emberbox.model import Limits, PackagesResult, RunOptions, RunParameters, RunResult, RunStatus, elapsed_ms
from emberbox.runtimes import Runtime, discover, runtime_folders
from emberbox.sandbox.compiling.cache import CompileCache
from emberbox.sandbox.kernels import image_store
from emberbox.sandbox.leases import Leases
from emberbox.sandbox.machines.capacity import committed_mib
from emberbox.sandbox.machines.plan import MachineSize, disk_of, size_of
from emberbox.sandbox.machines.standby import StandbyStatus
from emberbox.sandbox.parts import EngineParts, start_parts
from emberbox.sandbox.sandbox import Sandbox
from emberbox.sandbox.templates.stored import remove_superseded
from emberbox.sandbox.templates.template import Template, TemplatePlan
from emberbox.sandbox.turnover import Turnover
from emberbox.tasks import TaskKeeper, UndoStack, undone_on_failure
from emberbox.turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path

    from emberbox.images import Image, Progress
    from emberbox.sandbox.machines.book import MachineBook
    from emberbox.sandbox.machines.console import ConsoleReader
    from emberbox.sandbox.machines.live import LiveMachine
    from emberbox.sandbox.machines.plan import MachinePlan
    from emberbox.sandbox.packages.requests import Packages
    from emberbox.sandbox.templates.pool import PoolStatus
    from emberbox.sandbox.templates.store import TemplateStore
    from emberbox.vmm.base import DriverReport

_log = logging.getLogger(__name__)


class SandboxParameters(RunParameters, total=False):
    """What a sandbox is opened with: options of its programs, and these.

    - `limits`: bounds of runs where the options name none; None for the runtime's defaults.
    - `script_drive`: raw image of a file system, mounted read-only at /mnt/script; implies a cold boot.
    - `scope`: whose compiled programs and packages may be used again, such as the id of a team; None for
      this library user's own.
    - `packages`: what its programs may import besides: a requirements.txt or package.json, as a path or its
      text, or `{"pip": ["numpy==1.26.4"]}`. Installed once, by a VM of its own, and kept.
    - `console`: gets each line of the guest's console as it comes, escaped: of a cold boot from its first
      moment, of a clone, which is then made for the call, from its restore on. The kernel prints all it has
      to say. None for nobody.
    - `progress`: told what is made before the VM is there, such as an image or a template, which takes up to
      minutes. None for nobody.
    """

    limits: Limits | None
    script_drive: Path | None
    scope: str | None
    packages: Packages | None
    console: ConsoleReader | None
    progress: Progress | None


class Engine:
    """Runs programs in microVMs. Use it as `async with Engine() as engine`.

    Any number of engines, in one process or many, may share a data folder. Entering cleans up what
    a killed engine left.

    Args:
        settings: None reads them from the file and the environment.
        **flags: Values that win over all, such as `data=`; see `load_settings`.
    """

    def __init__(self, settings: Settings | None = None, **flags: Any) -> None:
        self.settings = settings if settings is not None else load_settings(**flags)
        self.runtimes = discover(runtime_folders(self.settings.data, self.settings.runtimes))
        self.images = image_store(self.settings)
        self._leases = Leases()
        self._live: set[Sandbox] = set()
        self._undo = UndoStack()
        self._keeper = TaskKeeper()
        self._parts: EngineParts | None = None
        self._closed = False
        places = max(2, len(os.sched_getaffinity(0)))
        self._builds = Turns(places, each=places // 2)
        self._turnover = Turnover(
            replaced=lambda old, by: self._running.pools.replace(old, by),
            unused=self._start_giving_up,
        )

    # -- life -------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        async with undone_on_failure(self._undo.close):
            await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _start(self) -> None:
        await self.images.prepare_kernel()
        parts = await start_parts(
            self.settings, self.images, self.image, self._leases, self._keeper, self._undo
        )
        # Standbys end first, then pools, then sandboxes; what runs in the background may end by itself.
        for end in (self._keeper.settle, self._end_sandboxes, parts.pools.close, parts.standbys.close):
            self._undo.push(end)
        self._parts = parts
        _log.info("engine started: %s", parts.report.reason, extra={"action": "engine.started"})

    async def close(self) -> None:
        """End every sandbox and give back all that was held.

        Repeating is harmless; finishes even when cancelled.
        """
        was_running = self._parts is not None and not self._closed
        self._closed = True
        await self._undo.close()
        if was_running:
            _log.info("engine ended", extra={"action": "engine.ended"})

    async def _end_sandboxes(self) -> None:
        for sandbox in list(self._live):
            await sandbox.close()

    @property
    def _started(self) -> EngineParts:
        """The parts, also of an engine that has ended."""
        if self._parts is None:
            raise EngineClosed("the engine was not started; use it with 'async with'")
        return self._parts

    @property
    def _running(self) -> EngineParts:
        if self._parts is None or self._closed:
            raise EngineClosed("the engine is not running; use it with 'async with'")
        return self._parts

    # -- what it is and holds ---------------------------------------------------------------------

    @property
    def driver(self) -> DriverReport:
        """What the machines run on, and why. Raises `EngineClosed` outside of `async with`."""
        return self._started.report

    @property
    def book(self) -> MachineBook:
        """Which machines live, and what is kept of those that ended badly.

        Raises `EngineClosed` outside of `async with`.
        """
        return self._started.book

    @property
    def machines(self) -> int:
        """How many machines live.

        They are in use, in pools, being made or ended, or VMMs that wait for their guest.
        """
        return self._running.slots.in_use

    @property
    def committed_mib(self) -> int:
        """How much memory they may come to use, in MiB: as much as counts when one more is let in."""
        return self._running.slots.committed_mib

    def pools(self) -> list[PoolStatus]:
        """Return what each pool holds."""
        return [] if self._parts is None else self._parts.pools.status()

    def standbys(self) -> StandbyStatus:
        """Return the counts of VMMs that were started ahead of time."""
        return StandbyStatus() if self._parts is None else self._parts.standbys.status()

    # -- images and templates ---------------------------------------------------------------------

    async def image(self, runtime: Runtime, progress: Progress | None = None) -> Image:
        """Return the runtime's image; builds it first when there is none, which takes up to minutes."""
        with ExitStack() as use:
            return await self._image(runtime, use, progress)

    async def _image(
        self, runtime: Runtime, use: ExitStack, progress: Progress | None = None, scope: str | None = None
    ) -> Image:
        """Return the runtime's image as `image` does; it is given up no sooner than `use` is closed.

        Those for whom images are built, by their scopes, take turns.
        """
        image = self.images.find(runtime)
        if image is None:
            async with self._builds.place(scope):
                image = await self.images.build(runtime, progress)
        if self._parts is not None and not self._closed:
            # At once, so that no other call takes it for one that nothing uses.
            self._turnover.use(runtime.name, image.key)
            use.callback(self._turnover.leave, image.key)
            await self._leases.hold(image.key, partial(self.images.lease, image))
        return image

    def _start_giving_up(self, image: str) -> None:
        # The end of an engine lets go of all images.
        if not self._closed:
            self._keeper.start(self._give_up(image), f"give-up-{image}")

    async def _give_up(self, image: str) -> None:
        """Let go of an image that a newer one has taken the place of; remove it where nobody else uses it."""
        parts = self._started
        await parts.pools.replaced(image)
        if parts.templates is not None:
            await parts.templates.forget(image)
        self._leases.drop(image)
        removed = await asyncio.to_thread(remove_superseded, self.images, self.settings.data)
        _log.info(
            "gave up image %s", image[:12], extra={"action": "engine.image_given_up", "removed": removed}
        )

    async def prepare(self, runtime: Runtime, image: Image, sizes: Iterable[MachineSize]) -> None:
        """Build the templates of an image that no run gets yet. Raises what building one raises.

        Args:
            runtime: What the image is of.
            image: The image.
            sizes: Of its templates.
        """
        await self._leases.hold(image.key, partial(self.images.lease, image))
        for size in sizes:
            plan, _ = await self._plan(runtime, image, size)
            await self._templates.get(plan)

    async def template(
        self,
        runtime: str,
        *,
        memory_mib: int | None = None,
        vcpus: int | None = None,
        progress: Progress | None = None,
    ) -> Template:
        """Return the template of a runtime at a size, opened; builds image and template where they lack.

        The size is rounded up to one of those that there are (`emberbox.bounds`).
        """
        found = self.runtimes.get(runtime)
        size = self._size(found, memory_mib, vcpus)
        with ExitStack() as use:
            image = await self._image(found, use, progress)
            plan, _ = await self._plan(found, image, size)
            return await self._templates.get(plan, progress)

    def _size(self, runtime: Runtime, memory_mib: int | None, vcpus: int | None) -> MachineSize:
        """Return the size that is asked for, rounded up. Raises `InvalidInput` where it never fits."""
        size = size_of(runtime, memory_mib, vcpus)
        self._running.slots.check(committed_mib(size.memory_mib))
        return size

    async def _plan(
        self,
        runtime: Runtime,
        image: Image,
        size: MachineSize,
        packages: Packages | None = None,
        scope: str | None = None,
    ) -> tuple[TemplatePlan, PackagesResult | None]:
        """Return what a template is made of, and how the packages in it came, where there are any."""
        provision = self._running.provision
        layers, installed = await provision.layers(runtime, image, packages, scope)
        plan = TemplatePlan(runtime=runtime, image=image, size=size, layers=layers, scope=scope)
        return plan, installed

    @property
    def _templates(self) -> TemplateStore:
        templates = self._running.templates
        if templates is None:
            raise InvalidInput("this driver takes no snapshots; use cold=True")
        return templates

    # -- sandboxes --------------------------------------------------------------------------------

    @asynccontextmanager
    async def sandbox(
        self, runtime: str, options: RunOptions | None = None, **given: Unpack[SandboxParameters]
    ) -> AsyncIterator[Sandbox]:
        """Open a sandbox: `async with engine.sandbox("python") as sandbox`.

        Args:
            runtime: Name or alias.
            options: The VM's size, and how programs run in it that name nothing else; None for the usual.
            **given: Further options, which win, and what else `SandboxParameters` tells.

        Raises:
            PackagesFailed: The packages could not be installed. UnknownRuntime, InvalidInput,
            CapacityExhausted, VmmError, GuestError, ImageError: With nothing left behind.
        """
        sandbox = await self.open_sandbox(runtime, options, **given)
        try:
            yield sandbox
        finally:
            await sandbox.close()

    async def open_sandbox(
        self,
        runtime: str,
        options: RunOptions | None = None,
        *,
        limits: Limits | None = None,
        script_drive: Path | None = None,
        scope: str | None = None,
        packages: Packages | None = None,
        console: ConsoleReader | None = None,
        progress: Progress | None = None,
        **given: Unpack[RunParameters],
    ) -> Sandbox:
        """Open a sandbox that the caller closes; arguments as for `sandbox`."""
        found = self.runtimes.get(runtime)
        chosen = RunOptions.of(options, given)
        chosen.check()
        size = self._size(found, chosen.memory_mib, chosen.vcpus)
        disk_mib = disk_of(found, chosen.disk_mib, size)
        with ExitStack() as use:
            image = await self._image(found, use, progress, scope)
            plan, installed = await self._plan(found, image, size, packages, scope)
            machine = replace(plan.machine, disk_mib=disk_mib, script_drive=script_drive, console=console)
            programs = None
            if script_drive is None:
                # A program may be made for the processor that compiled it.
                processor = self._running.report.accelerator or ""
                made_by = (plan.image.key, processor, *(layer.digest for layer in plan.layers))
                programs = self._programs(found, scope, *made_by)
            if chosen.cold or script_drive is not None:
                live, waiting = await self._running.maker.boot(machine), False
            else:
                live, waiting = await self._cloned(plan, machine, use, progress)
            sandbox = Sandbox(
                live, found, chosen, limits, waiting=waiting, programs=programs, keeper=self._keeper
            )
            sandbox.packages = installed
            self._live.add(sandbox)
            live.undo.push_call(use.pop_all().close)
            live.undo.push_call(self._live.discard, sandbox)
            return sandbox

    async def _cloned(
        self, plan: TemplatePlan, machine: MachinePlan, use: ExitStack, progress: Progress | None
    ) -> tuple[LiveMachine, bool]:
        """Return a clone of the template, and whether an interpreter waits.

        The template is closed for no other one before `use` is closed.
        """
        template = await self._templates.get(plan, progress)
        # An engine that has ended meanwhile clones nothing.
        pools = self._running.pools
        use.callback(self._templates.hold(template))
        return await pools.claim(template, machine), template.record.waiting

    def _programs(self, runtime: Runtime, scope: str | None, *made_by: str) -> CompileCache | None:
        """Return what may be used instead of compiling; None always compiles."""
        recipe, settings = runtime.compile, self.settings.compile
        if recipe is None or not recipe.cache or not settings.cache_mib:
            return None
        return CompileCache(self.settings.data / "compiled", settings, scope, *made_by)

    async def warm_pool(
        self,
        runtime: str,
        count: int,
        *,
        memory_mib: int | None = None,
        vcpus: int | None = None,
        timeout_s: float = 300.0,
    ) -> bool:
        """Keep `count` sandboxes ready from now on, and wait until they are.

        Returns:
            False when that took longer than `timeout_s`.

        Raises:
            InvalidInput: `pool.maximum` is lower.
        """
        if count > self.settings.pool.maximum:
            most = f"at most {self.settings.pool.maximum} can be kept ready here"
            raise InvalidInput(f"{most}; raise pool.maximum to keep {count}")
        template = await self.template(runtime, memory_mib=memory_mib, vcpus=vcpus)
        pool = self._running.pools.of(template)
        pool.keep(count)
        return await pool.full(timeout_s)

    # -- one program ------------------------------------------------------------------------------

    async def run(
        self,
        code: str | bytes | Path,
        args: Sequence[str] = (),
        *,
        runtime: str,
        options: RunOptions | None = None,
        stdin: bytes | AsyncIterable[bytes] | None = None,
        files: Mapping[str, bytes | Path] | None = None,
        limits: Limits | None = None,
        name: str | None = None,
        packages: Packages | None = None,
        **given: Unpack[RunParameters],
    ) -> RunResult:
        """Run one script in a sandbox of its own, which is thrown away.

        Arguments as for `Sandbox.run` and `sandbox`. Returns as soon as the result is known, with
        the files of the output folder in it; the machine is ended in the background. Packages that
        cannot be installed are a result, too.
        """
        begun = time.perf_counter()
        chosen = RunOptions.of(options, given, args=args)
        try:
            sandbox = await self.open_sandbox(runtime, chosen, limits=limits, packages=packages)
        except PackagesFailed as error:
            return RunResult(status=RunStatus.PACKAGES_FAILED, message=error.message, packages=error.result)
        try:
            result = await sandbox.run(code, stdin=stdin, files=files, name=name)
            result = await sandbox.with_outputs(result)
        finally:
            self._keeper.start(sandbox.close(), f"close-{sandbox.id}")
        metrics = replace(result.metrics, total_ms=elapsed_ms(begun))
        return replace(result, metrics=metrics, packages=sandbox.packages)

"""Opening sandboxes: cold, or as clones of a template."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emberbox.errors import EngineClosed, InvalidInput
from emberbox.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images import Progress
    from emberbox.model import Limits, RunOptions
    from emberbox.sandbox.compiling.cache import CompileCache, ScopedCache
    from emberbox.sandbox.machines.console import ConsoleReader
    from emberbox.sandbox.machines.live import LiveMachine
    from emberbox.sandbox.machines.making import MachineMaker
    from emberbox.sandbox.templates.pools import Pools
    from emberbox.sandbox.templates.store import TemplateStore
    from emberbox.sandbox.templates.template import Template, TemplatePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxPlan:
    """One sandbox as it shall be.

    Args:
        template: What it is a clone of, or would be.
        options: How its programs run.
        limits: Bounds of its runs where the options name none; None for the runtime's.
        disk_mib: Bound of what its guest may write; None for the agent's default.
        script_drive: Raw image, mounted read-only at /mnt/script; None for none.
        scope: Whose compiled programs may be used again; None for the data folder's owner's.
        console: Gets the guest's console; None for nobody.
    """

    template: TemplatePlan
    options: RunOptions
    limits: Limits | None = None
    disk_mib: int | None = None
    script_drive: Path | None = None
    scope: str | None = None
    console: ConsoleReader | None = None

    @property
    def cold(self) -> bool:
        """Whether it is booted for itself."""
        return self.options.cold or self.script_drive is not None


class Opener:
    """Opens the sandboxes of one engine, and ends those that are left.

    Args:
        maker: Boots what is cold.
        templates: None where the driver takes no snapshots.
        pools: Where clones come from.
        programs: What was compiled before.
        accelerator: What processors run on; a program may be made for the one that compiled it.
    """

    def __init__(
        self,
        maker: MachineMaker,
        templates: TemplateStore | None,
        pools: Pools,
        programs: CompileCache,
        accelerator: str | None,
    ) -> None:
        self._maker = maker
        self._templates = templates
        self._pools = pools
        self._programs = programs
        self._accelerator = accelerator
        self._live: set[Sandbox] = set()
        self._ended = False

    async def template(self, plan: TemplatePlan, progress: Progress | None = None) -> Template:
        """Return the template, opened; builds it when there is none.

        Raises:
            InvalidInput: The driver takes no snapshots.
        """
        if self._templates is None:
            raise InvalidInput("this driver takes no snapshots; use cold=True")
        return await self._templates.get(plan, progress)

    async def open(self, plan: SandboxPlan) -> Sandbox:
        """Open a sandbox, which the caller closes. Raises what making its machine raises."""
        live, waiting = await self._machine(plan)
        sandbox = Sandbox(
            live,
            plan.template.runtime,
            plan.options,
            plan.limits,
            waiting=waiting,
            programs=self._programs_of(plan),
        )
        self._live.add(sandbox)
        live.undo.push_call(self._live.discard, sandbox)
        return sandbox

    def end(self) -> None:
        """Let nothing more come of templates that are still being made."""
        self._ended = True

    async def close(self) -> None:
        """End every sandbox that is open."""
        for sandbox in list(self._live):
            await sandbox.close()

    async def _machine(self, plan: SandboxPlan) -> tuple[LiveMachine, bool]:
        """Return a machine, and whether an interpreter waits in it."""
        if plan.cold:
            machine = replace(
                plan.template.machine,
                disk_mib=plan.disk_mib,
                script_drive=plan.script_drive,
                console=plan.console,
            )
            return await self._maker.boot(machine), False
        template = await self.template(plan.template)
        if self._ended:
            raise EngineClosed("the engine is not running; use it with 'async with'")
        live = await self._pools.claim(template, plan.disk_mib, plan.console)
        return live, template.record.waiting

    def _programs_of(self, plan: SandboxPlan) -> ScopedCache | None:
        """Return what may be used instead of compiling; None always compiles."""
        recipe, template = plan.template.runtime.compile, plan.template
        if plan.script_drive is not None or recipe is None or not recipe.cache:
            return None
        layers = (layer.digest for layer in template.layers)
        return self._programs.scoped(plan.scope, template.image.key, self._accelerator or "", *layers)

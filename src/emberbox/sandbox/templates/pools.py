"""The pools of one engine, one for each template in use."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from emberbox.sandbox.templates.pool import Pool, PoolStatus

if TYPE_CHECKING:
    from emberbox.config import PoolSettings
    from emberbox.sandbox.machines.live import LiveMachine
    from emberbox.sandbox.machines.making import MachineMaker
    from emberbox.sandbox.machines.plan import MachinePlan, MachineSize
    from emberbox.sandbox.machines.standby import StandbyStock
    from emberbox.sandbox.templates.template import Template
    from emberbox.tasks import TaskKeeper

_Kind = tuple[str, "MachineSize", int]


class Pools:
    """Clones of templates, taken from their pools where there is one that fits.

    Args:
        maker: Makes clones.
        standbys: VMMs that were started ahead of time, for the counts.
        settings: Bounds and intervals of each pool.
        keeper: Owns the background tasks.
    """

    def __init__(
        self, maker: MachineMaker, standbys: StandbyStock, settings: PoolSettings, keeper: TaskKeeper
    ) -> None:
        self.by_template: dict[str, Pool] = {}
        self._maker = maker
        self._standbys = standbys
        self._settings = settings
        self._keeper = keeper
        self._replaced: set[str] = set()
        self._ordered: dict[_Kind, int] = {}
        self._ending: dict[str, list[asyncio.Task[None]]] = {}

    def of(self, template: Template) -> Pool:
        """Return the template's pool, which begins to fill at its first use."""
        key = template.record.key
        if key not in self.by_template:
            plan = replace(template.machine, disk_mib=template.runtime.limits.disk_mib)
            self.by_template[key] = Pool(
                template,
                lambda patient: self._maker.clone(template.snapshot, plan, patient=patient),
                self._settings,
                self._keeper,
            )
            if ordered := self._ordered.pop(_kind(template), 0):
                self.by_template[key].keep(ordered)
        return self.by_template[key]

    async def claim(self, template: Template, plan: MachinePlan) -> LiveMachine:
        """Return a clone, which the caller owns. Raises what cloning raises.

        One of another disk than the runtime's, or whose console is followed, is made for the call.

        Args:
            template: What it is a clone of.
            plan: The template's, with what is the clone's own.
        """
        usual = plan.console is None and plan.disk_mib == template.runtime.limits.disk_mib
        usual = usual and template.image.key not in self._replaced
        if usual and self._settings.maximum > 0:
            return await self.of(template).claim()
        return await self._maker.clone(template.snapshot, plan)

    def status(self) -> list[PoolStatus]:
        """Return what each pool holds."""
        return [
            replace(pool.status(), standby=self._standbys.ready(pool.template.snapshot))
            for pool in self.by_template.values()
        ]

    def uses(self, key: str) -> bool:
        """Tell whether somebody waits for a machine of a template, or ordered that some are kept ready."""
        pool = self.by_template.get(key)
        return pool is not None and pool.in_use

    def give_up_one(self) -> int:
        """End a ready machine of the template that was not asked for longest: its room is needed.

        Returns the memory in MiB that it counts; 0 where there was none.
        """
        pools = sorted(self.by_template.values(), key=lambda pool: pool.claimed_at)
        return next((given for pool in pools if (given := pool.give_up_one())), 0)

    async def drop(self, key: str) -> None:
        """Keep nothing ready of a template any more, until it is used again."""
        if (pool := self.by_template.pop(key, None)) is not None:
            await pool.close()

    def replace(self, image: str, by: str) -> None:
        """Begin to end the pools of an image that a newer one has taken the place of.

        As many machines as were ordered to be kept ready of it are kept ready of the newer one, once
        that is used. What is claimed of the old one from now on is made for the call.

        Args:
            image: The old one's key.
            by: The newer one's.
        """
        self._replaced.add(image)
        self._replaced.discard(by)
        for key, pool in list(self.by_template.items()):
            if pool.template.image.key == image:
                self._ordered[_kind(pool.template)] = pool.ordered
                del self.by_template[key]
                ending = self._keeper.start(pool.close(), f"pool-replaced-{key}")
                self._ending.setdefault(image, []).append(ending)

    async def replaced(self, image: str) -> None:
        """Wait until the pools of an image that was replaced have ended."""
        if ending := self._ending.pop(image, []):
            await asyncio.wait(ending)

    async def close(self) -> None:
        """End all ready machines and stop refilling. Repeating is harmless."""
        pools, self.by_template = list(self.by_template.values()), {}
        for pool in pools:
            await pool.close()


def _kind(template: Template) -> _Kind:
    """Return what the templates of a runtime's old and new image have in common."""
    return template.runtime.name, template.size, len(template.layers)

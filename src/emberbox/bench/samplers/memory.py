"""What an idle sandbox takes of the host's memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from emberbox.bench.samplers.base import HELLO, BenchError, checked, settle
from emberbox.bench.smaps import command_name, dirty_by_kind, family, rollup
from emberbox.bench.statistics import percentile, rounded

if TYPE_CHECKING:
    from emberbox.sandbox import Engine, Sandbox


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """What was found, in MiB for each sandbox.

    Args:
        pss: Proportional set size: pages that N processes share count as 1/N each.
        private_dirty: Pages that only this sandbox has and that cannot be dropped.
        dirty_kinds: Mean of the private dirty pages by what they hold.
        processes: Names of the processes of one sandbox, confinement included.
        idle_s: How long the sandboxes had nothing to do before they were looked at.
        used_pss: The same as `pss` after each has run one program, and been idle again.
    """

    pss: list[float]
    private_dirty: list[float]
    dirty_kinds: dict[str, float]
    processes: list[str]
    idle_s: float
    failures: list[str] = field(default_factory=list)
    used_pss: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        used = (
            {"median": percentile(self.used_pss, 50), "maximum": max(self.used_pss)}
            if self.used_pss
            else None
        )
        values = {
            "unit": "MiB",
            "sandboxes": len(self.pss),
            "idle_s": self.idle_s,
            "pss": _spread(self.pss),
            "private_dirty": _spread(self.private_dirty),
            "private_dirty_kinds": self.dirty_kinds,
            "processes": self.processes,
            "pss_after_a_program": used,
            "pss_samples": self.pss,
            "private_dirty_samples": self.private_dirty,
        }
        return rounded(values, 2)


def _spread(sizes: list[float]) -> dict[str, float]:
    return {"median": percentile(sizes, 50), "minimum": min(sizes), "maximum": max(sizes)}


async def measure_memory(engine: Engine, runtime: str, *, count: int, idle_s: float) -> MemoryUse:
    """Open `count` sandboxes, let them idle, and look at their processes.

    Then one program is run in each; they idle and are looked at again.

    Raises:
        BenchError: A program failed, or the processes cannot be read.
    """
    sandboxes: list[Sandbox] = []
    try:
        for _ in range(count):
            sandboxes.append(await engine.open_sandbox(runtime))
            await sandboxes[-1].confirm()
        memory_kib = engine.runtimes.get(runtime).limits.memory_mib * 1024
        pids = [sandbox.pid for sandbox in sandboxes]
        try:
            await asyncio.sleep(idle_s)
            idle = await asyncio.to_thread(look_at, pids, memory_kib, idle_s)
            for sandbox in sandboxes:
                checked(await sandbox.run(HELLO))
            await asyncio.sleep(idle_s)
            used = await asyncio.to_thread(look_at, pids, memory_kib, idle_s)
            return replace(idle, used_pss=used.pss)
        except OSError as error:
            raise BenchError(f"the VMs' memory cannot be read: {error}") from error
    finally:
        for sandbox in sandboxes:
            await sandbox.close()
        await settle(engine)


def look_at(pids: list[int], guest_memory_kib: int, idle_s: float) -> MemoryUse:
    """Add up what the VMMs `pids` and the processes that confine them take.

    A process that serves several sandboxes counts in equal parts for each.
    """
    families = [family(pid) for pid in pids]
    pss, dirty = [], []
    kinds: dict[str, float] = {}
    for members in families:
        shares = {pid: sum(pid in other for other in families) for pid in members}
        rollups = {pid: rollup(pid) for pid in members}
        pss.append(sum(rollups[pid].get("Pss", 0) / shares[pid] for pid in members) / 1024)
        dirty.append(sum(rollups[pid].get("Private_Dirty", 0) / shares[pid] for pid in members) / 1024)
        for pid in members:
            for kind, size_kib in dirty_by_kind(pid, guest_memory_kib).items():
                kinds[kind] = kinds.get(kind, 0.0) + size_kib / 1024 / len(families) / shares[pid]
    return MemoryUse(
        pss=pss,
        private_dirty=dirty,
        dirty_kinds=dict(sorted(kinds.items(), key=lambda item: -item[1])),
        processes=[command_name(pid) for pid in families[0]],
        idle_s=idle_s,
    )

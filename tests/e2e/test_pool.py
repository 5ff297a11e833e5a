"""Pools: ready sandboxes, refilled, checked, and given up at the end."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine, Settings
from emberbox.config import PoolSettings
from emberbox.errors import InvalidInput
from emberbox.vmm.base import MachineState
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from emberbox.images import ImageStore


async def test_a_run_takes_a_ready_sandbox(pooled: Engine) -> None:
    assert await pooled.warm_pool("python", 2)
    result = await pooled.run("print('hi')", runtime="python")
    assert (result.stdout, result.metrics.source, result.metrics.boot_ms) == ("hi\n", "pool", 0.0)
    assert await pooled.warm_pool("python", 2)
    (status,) = pooled.pools()
    assert (status.claims, status.misses) == (1, 0)
    assert status.ready >= 2


async def test_each_ready_sandbox_is_used_once(pooled: Engine) -> None:
    await pooled.warm_pool("python", 2)
    first = await pooled.run("open('/tmp/mark', 'w').close(); print(open('/etc/hostname'))", runtime="python")
    for _ in range(3):
        later = await pooled.run(
            "import os; print(os.path.exists('/tmp/mark'), sorted(os.listdir('/work')))", runtime="python"
        )
        assert later.stdout == "False ['main.py', 'output']\n"
    assert first.ok


async def test_an_empty_pool_clones_at_once(pooled: Engine) -> None:
    await pooled.warm_pool("python", 1)
    results = await asyncio.gather(*(pooled.run("print(1)", runtime="python") for _ in range(5)))
    assert [result.stdout for result in results] == ["1\n"] * 5
    assert {result.metrics.source for result in results} == {"pool", "clone"}


async def test_demand_raises_the_target_and_quiet_lowers_it(settings: Settings, images: ImageStore) -> None:
    async with Engine(replace(settings, pool=PoolSettings(maximum=4, window_s=3600, health_s=1))) as engine:
        await engine.warm_pool("python", 0)
        await asyncio.gather(*(engine.run("print(1)", runtime="python") for _ in range(3)))
        assert 2 <= engine.pools()[0].target <= 4
        (pool,) = engine._running.pools.by_template.values()
        pool._demand._window_s = 1.0
        await until(lambda: (engine.pools()[0].target, engine.pools()[0].ready) == (0, 0))


async def test_a_dead_ready_sandbox_is_not_handed_out(pooled: Engine) -> None:
    await pooled.warm_pool("python", 1)
    pool = next(iter(pooled._running.pools.by_template.values()))
    dead = pool._ready[0].machine
    os.kill(dead.pid, signal.SIGKILL)
    await asyncio.wait_for(dead.wait(), PATIENCE_S)
    assert dead.poll() is not MachineState.RUNNING
    result = await pooled.run("print('alive')", runtime="python")
    assert result.stdout == "alive\n"


async def test_a_hung_ready_sandbox_is_replaced(pooled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emberbox.sandbox.templates.pool.PING_S", 5.0)
    await pooled.warm_pool("python", 1)
    pool = next(iter(pooled._running.pools.by_template.values()))
    hung = pool._ready[0]
    await hung.machine.pause()
    await until(lambda: hung not in pool._ready and len(pool._ready) == 1)
    assert (await pooled.run("print('alive')", runtime="python")).stdout == "alive\n"


async def test_a_stale_ready_sandbox_is_replaced(settings: Settings, images: ImageStore) -> None:
    pool = PoolSettings(maximum=1, stale_s=0.5, health_s=60)
    async with Engine(replace(settings, pool=pool)) as engine:
        await engine.warm_pool("python", 1)
        await asyncio.sleep(1)
        result = await engine.run("print(1)", runtime="python")
        assert result.metrics.source == "clone"


async def test_more_than_the_maximum_is_refused(pooled: Engine) -> None:
    with pytest.raises(InvalidInput, match="maximum"):
        await pooled.warm_pool("python", 5)

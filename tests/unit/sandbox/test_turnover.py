"""An engine changes over to a newer image, and lets go of the old one when nothing uses it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emberbox import Engine, Settings
from emberbox.config import PoolSettings
from emberbox.files.locks import is_locked
from emberbox.images import Image, ImageStore, PruneReport
from emberbox.sandbox.turnover import Turnover
from tests.patience import PATIENCE_S, until
from tests.unit.sandbox.test_engine import driver

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.unit.sandbox.stand_ins import StandIn

__all__ = ["driver"]


class Told:
    def __init__(self) -> None:
        self.news: list[tuple[str, ...]] = []
        self.turnover = Turnover(
            replaced=lambda old, by: self.news.append(("replaced", old, by)),
            unused=lambda key: self.news.append(("unused", key)),
        )


def test_an_old_image_is_unused_after_its_last_user() -> None:
    told = Told()
    told.turnover.use("toy", "a")
    told.turnover.use("toy", "a")
    told.turnover.leave("a")
    told.turnover.use("toy", "b")
    told.turnover.use("other", "c")
    assert told.news == [("replaced", "a", "b")]
    told.turnover.leave("a")
    told.turnover.leave("b")
    assert told.news == [("replaced", "a", "b"), ("unused", "a")]


def test_one_that_nothing_used_is_unused_at_once_and_one_that_comes_back_is_not() -> None:
    told = Told()
    told.turnover.use("toy", "a")
    told.turnover.leave("a")
    told.turnover.use("toy", "b")
    assert told.news == [("replaced", "a", "b"), ("unused", "a")]
    told.turnover.use("toy", "a")
    told.turnover.leave("a")
    told.turnover.leave("b")
    assert told.news[2:] == [("replaced", "b", "a"), ("unused", "b")]


async def test_what_runs_on_the_old_image_goes_on_and_what_starts_gets_the_new_one(
    tmp_path: Path, driver: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(Settings(data=tmp_path, pool=PoolSettings(minimum=0, maximum=2, standby=0)))
    removals: list[int] = []

    def remove(_: ImageStore) -> PruneReport:
        removals.append(1)
        return PruneReport(images=("abc",))

    monkeypatch.setattr(ImageStore, "remove_superseded", remove)
    lease = tmp_path / "images/locks/image-abc.lock"
    async with engine:
        await engine.warm_pool("python", 1, timeout_s=PATIENCE_S)
        (old_template,) = [status.template for status in engine.pools()]
        running = await engine.open_sandbox("python")
        old = engine.images.find(engine.runtimes.get("python"))
        assert old is not None
        new: Image = replace(old, key="def")
        monkeypatch.setattr(ImageStore, "find", lambda *_: new)
        async with engine.sandbox("python"):
            (status,) = engine.pools()
            assert status.template != old_template and status.target >= 1, "as many are kept ready"
        assert running.state == "running" and is_locked(lease) and not removals
        assert (tmp_path / "templates" / old_template).exists()
        await running.close()
        await until(lambda: not is_locked(lease))
        await until(lambda: not (tmp_path / "templates" / old_template).exists())
        assert removals and (tmp_path / "templates" / status.template).exists()


async def test_a_pool_that_nobody_ordered_does_not_keep_its_successor_open(
    tmp_path: Path, driver: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Engine(Settings(data=tmp_path, pool=PoolSettings(minimum=1, maximum=2, standby=0))) as engine:
        async with engine.sandbox("python"):
            (old,) = [status.template for status in engine.pools()]
        image = engine.images.find(engine.runtimes.get("python"))
        assert image is not None
        newer: Image = replace(image, key="def")
        monkeypatch.setattr(ImageStore, "find", lambda *_: newer)
        async with engine.sandbox("python"):
            (status,) = engine.pools()
            assert status.template != old
            pools = engine._started.pools
            assert not pools.uses(status.template), "it may be closed where another needs the room"

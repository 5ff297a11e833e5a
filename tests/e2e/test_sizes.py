"""Sizes of VMs: few of them, each with a template that counts, and goes when it is unused."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine, Settings
from emberbox.config import CapacitySettings, TemplateSettings
from emberbox.errors import CapacityExhausted, InvalidInput
from emberbox.images import SilentProgress
from emberbox.sandbox.templates.stored import in_use, stored_templates

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.images import ImageStore


class Told(SilentProgress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, name: str, fraction: float | None) -> None:
        self.steps.append(name)


@pytest.fixture
def tight(settings: Settings, images: ImageStore, tmp_path: Path) -> Settings:
    """Settings with a data folder of their own, in which one template has room."""
    (tmp_path / "images").symlink_to(images.root.resolve())
    return replace(settings, data=tmp_path, templates=TemplateSettings(disk_mib=1, memory_mib=1))


async def test_templates_make_room_for_each_other_and_never_go_while_in_use(tight: Settings) -> None:
    root, news = tight.data / "templates", Told()
    async with Engine(tight) as engine:
        async with engine.sandbox("bash", memory_mib=100, scope="key_1", progress=news) as first:
            (record,) = stored_templates(root)
            assert (record.memory_mib, record.scope) == (128, "key_1")
            assert "making a template of bash at 128 MiB" in news.steps
            assert in_use(root, record.key)
            engine._templates._opened._wait_s = 0.5
            with pytest.raises(CapacityExhausted, match=r"raise templates\.memory_mib"):
                await engine.open_sandbox("bash", memory_mib=192)
            assert (await first.run("echo still")).stdout == "still\n"
            assert record.key in {found.key for found in stored_templates(root)}
        async with engine.sandbox("bash", memory_mib=130, progress=news) as second:
            assert second._live.machine.spec.memory_mib == 192
            assert not in_use(root, record.key)
            assert (await second.run("echo here")).stdout == "here\n"
            # Its room on disk was given up as well, once it was no longer open.
            assert [found.memory_mib for found in stored_templates(root)] == [192]


async def test_memory_of_live_machines_is_bounded(settings: Settings, images: ImageStore) -> None:
    capacity = CapacitySettings(memory_mib=2 * (256 + 64), queue_timeout_s=600)
    async with Engine(replace(settings, capacity=capacity)) as engine:
        async with engine.sandbox("python") as one, engine.sandbox("python") as two:
            engine._running.maker._places._wait_s = 0.5
            with pytest.raises(CapacityExhausted, match=r"raise capacity\.memory_mib"):
                await engine.open_sandbox("python")
            assert (await one.run("print(1)")).ok
            assert (await two.run("print(2)")).ok
        assert (await engine.run("print(3)", runtime="python")).stdout == "3\n"
        with pytest.raises(InvalidInput, match="never fits"):
            await engine.run("print()", runtime="python", memory_mib=1024)

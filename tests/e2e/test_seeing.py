"""What an operator sees of machines: their consoles live, and what is left of those that did not come up."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox import Engine
from emberbox.errors import BootFailed
from emberbox.sandbox.machines.plan import MachinePlan, MachineSize
from tests.e2e import hopeless_guests

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox import Settings
    from emberbox.images import ImageStore

pytestmark = pytest.mark.timeout(600)  # cold boots, on whatever host

SIZE = MachineSize(vcpus=1, memory_mib=128)
SEGFAULT = "import ctypes; ctypes.string_at(0)"


@pytest_asyncio.fixture
async def own(settings: Settings, images: ImageStore, tmp_path: Path) -> AsyncIterator[Engine]:
    """An engine whose book is its own: images and templates are those of all tests."""
    for name in ("images", "templates", "vmm"):
        (settings.data / name).mkdir(exist_ok=True)
        (tmp_path / name).symlink_to((settings.data / name).resolve())
    async with Engine(replace(settings, data=tmp_path)) as running:
        yield running


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the guest is x86-64 code")
async def test_a_machine_that_does_not_come_up_is_told_and_kept(own: Engine, tmp_path: Path) -> None:
    image = await own.image(own.runtimes.get("python"))
    folder = tmp_path / "guest"
    folder.mkdir()
    hopeless = replace(image, initramfs=hopeless_guests.initramfs(folder, hopeless_guests.EXIT))
    with pytest.raises(BootFailed, match=r"did not boot: .*Attempted to kill init! exitcode=0x00000000"):
        await own._running.maker.boot(MachinePlan(image=hopeless, size=SIZE))
    assert own.machines == 0
    (entry,) = await own.book.entries()
    assert (entry.runtime, entry.source, entry.state, entry.driver) == ("python", "cold", "exited", "qemu")
    assert "Attempted to kill init!" in (entry.reason or "")
    assert "Kernel panic - not syncing" in await own.book.console(entry.id)


async def test_the_console_of_a_cold_boot_is_shown_from_its_first_moment(own: Engine) -> None:
    lines: list[str] = []
    async with own.sandbox("python", cold=True, console=lines.append) as sandbox:
        # On a busy host another may have been given up before, whose timer was measured badly.
        entry, *given_up = await own.book.entries()
        assert {one.state for one in given_up} <= {"exited"}
        assert (entry.id, entry.state, entry.source) == (sandbox.id, "running", "cold")
        assert (await sandbox.run("print(6 * 7)")).stdout == "42\n"
    shown = "\n".join(lines)
    assert "Linux version" in shown
    assert "Run /init as init process" in shown
    assert await own.book.entries() == given_up, "one that ends well leaves nothing"


async def test_of_a_clone_it_is_what_its_kernel_says_from_then_on(own: Engine) -> None:
    lines: list[str] = []
    async with own.sandbox("python", console=lines.append) as sandbox:
        await sandbox.run(SEGFAULT)
    shown = "\n".join(lines)
    assert "segfault at 0" in shown
    assert "Linux version" not in shown

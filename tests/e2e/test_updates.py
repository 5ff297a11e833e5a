"""An image is renewed under an engine that runs: nothing of what runs is lost, and the old image goes."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine
from emberbox.images import ImageStore, SilentProgress, missing_requirements
from emberbox.images.rootfs.build import RootFilesystem
from emberbox.images.tools.requirements import find_program
from emberbox.sandbox.machines.plan import MachineSize
from emberbox.sandbox.templates.stored import stored_templates
from tests.patience import PATIENCE_S, until

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox import Settings
    from emberbox.images import Image
    from emberbox.images.progress import Progress
    from emberbox.images.rootfs.recipe import BuildableRuntime

pytestmark = pytest.mark.skipif(
    bool(missing_requirements()), reason="a program that builds images is missing"
)
RENEWED = "cat /etc/renewed 2>/dev/null || echo old"


@pytest.fixture
def renewing(images: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have builds take bash's root file system and put a file into it: what a newer package is to a guest."""
    rootfs = next(stored.image.rootfs for stored in images.list() if stored.image.runtime == "bash")

    async def build(_: BuildableRuntime, __: str, folder: Path, ___: Progress) -> RootFilesystem:
        target, file = folder / "rootfs.ext4", folder / "renewed"
        shutil.copyfile(rootfs, target)
        file.write_text("new\n")
        steps = folder / "steps"
        steps.write_text(f"cd /etc\nwrite {file} renewed\n")
        command = [find_program("debugfs"), "-w", "-f", str(steps), str(target)]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
        return RootFilesystem(target, ())

    monkeypatch.setattr("emberbox.images.build.build_rootfs", build)


async def test_runs_change_over_to_a_new_image_and_the_old_one_goes_with_its_last_sandbox(
    settings: Settings, images: ImageStore, renewing: None, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(
        settings.data / "images",
        data / "images",
        ignore=shutil.ignore_patterns("locks", "building"),
        # The store changes no file that it has.
        copy_function=os.link,
    )
    (data / "images/locks").mkdir()
    async with Engine(replace(settings, data=data)) as engine:
        bash = engine.runtimes.get("bash")
        async with engine.sandbox("bash") as running:
            assert (await running.run(RENEWED)).stdout == "old\n"
            old = engine.images.find(bash)
            assert old is not None
            (template,) = stored_templates(data / "templates")
            new = await _renew(engine, data, old)
            assert engine.images.find(bash) == new
            built = [record.key for record in stored_templates(data / "templates") if record.image == new.key]
            assert len(built) == 1, "before anybody asks for it"
            assert (await engine.run(RENEWED, runtime="bash")).stdout == "new\n"
            assert (await running.run(RENEWED)).stdout == "old\n"
            assert old.rootfs.exists()
        await until(lambda: not (data / "templates" / template.key).exists())
        assert not (data / "images/images/bash" / f"{old.key}.json").exists()
        assert (await engine.run(RENEWED, runtime="bash")).stdout == "new\n"


async def _renew(engine: Engine, data: Path, old: Image) -> Image:
    """Renew bash's image as another process does it: on an engine of its own."""
    bash = engine.runtimes.get("bash")
    sizes = {record.image: record for record in stored_templates(data / "templates")}
    async with Engine(engine.settings) as other:
        size = MachineSize(vcpus=sizes[old.key].vcpus, memory_mib=sizes[old.key].memory_mib)
        return await other.images.renew(
            bash,
            lambda part: part.kind != "rootfs",
            lambda image: other.prepare(bash, image, [size]),
            SilentProgress(),
        )

"""What doctor says, held against what then happens: as root, and as users who may do little."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emberbox import Settings
from emberbox.bounds import UID_BASE, UID_COUNT
from emberbox.doctor import Level, diagnose, inspect_host
from emberbox.doctor.trials.machine import CONSOLE_BYTES, try_machine
from emberbox.vmm.process.cgroup import Cgroups
from tests.e2e.drivers.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.images import ImageStore

ROOT = Path(__file__).parents[2]
NOBODY = 65_534
"""The uid of an account that is given no range of further numbers on any host."""
WAIT_S = 300.0
pytestmark = pytest.mark.timeout(900)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")


@pytest.mark.parametrize("name", ["qemu", "firecracker-peer"])
async def test_a_vms_first_instructions_in_full_confinement(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    if (reason := kind.absent()) is not None:
        pytest.skip(reason)
    if kind.prepare is not None:
        kind.prepare(tmp_path)
    trial = await try_machine(kind.driver(tmp_path), tmp_path, timeout_s=WAIT_S)
    assert trial.problem is None
    assert trial.walls is not None
    assert not trial.walls.shared
    assert not trial.walls.capable
    assert trial.walls.gains is False
    assert trial.walls.filtered is not kind.peer, "the stand-in filters nothing, and that is seen"
    assert trial.console_bytes <= CONSOLE_BYTES
    if os.geteuid() == 0:
        assert UID_BASE < trial.walls.uid < UID_BASE + UID_COUNT
        assert bool(trial.walls.bounded) is Cgroups().prepare()


async def test_every_row_of_this_host(data_folder: Path, images: ImageStore) -> None:
    settings = Settings(data=data_folder)
    found = {finding.key: finding for finding in await diagnose(settings)}
    assert found["driver"].level in (Level.OK, Level.WARNING), found["driver"]
    assert "a guest ran" in found["driver"].found
    assert "a VMM was looked at" in found["confinement"].found
    assert found["images"].level is Level.OK
    rows = {finding.key: finding for finding in await inspect_host(settings)}
    assert rows["seccomp"].level is Level.OK, rows["seccomp"]
    assert rows["output"].level is Level.OK
    assert rows["user_namespaces"].level is not Level.UNKNOWN


@dataclass(frozen=True)
class Someone:
    """A user without rights, and a folder that is its own.

    Args:
        folder: Open to all; gone after the test.
        python: An interpreter that this user may start.
    """

    folder: Path
    python: str
    prepare: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    async def emberbox(self, *words: str) -> tuple[int, str, str]:
        """Run the command as that user; returns its exit code, its output and its errors."""
        paths = [str(ROOT / "src"), sysconfig.get_path("purelib")]
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "EMBERBOX_DATA": str(self.data),
            "PYTHONPATH": ":".join(paths),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LD_LIBRARY_PATH": str(Path(self.python).parents[1] / "lib"),
        }
        become = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--"]
        line = "import sys; from emberbox.cli.main import main; sys.exit(main(sys.argv[1:]))"
        inner = [*become, self.python, "-c", line, *words]
        command = ["unshare", "--mount", "--", "/bin/sh", "-c", f'{self.prepare} exec "$@"', "sh", *inner]
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(WAIT_S):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode(), errors.decode()


@pytest.fixture
def someone() -> Iterator[Someone]:
    """Such a user, who can read the interpreter and these sources.

    Where they lie in a closed folder, the user sees them mounted at an open one.
    """
    folder = Path(tempfile.mkdtemp(prefix="emberbox-someone-"))
    try:
        folder.chmod(0o755)
        (folder / "data").mkdir()
        os.chown(folder / "data", NOBODY, NOBODY)
        opened = folder / "python"
        opened.mkdir()
        base = Path(sys.base_prefix)
        python = opened / Path(sys.executable).resolve().relative_to(base.resolve())
        closed = [path for path in (ROOT / "src", Path(sysconfig.get_path("purelib"))) if not _open(path)]
        if closed:
            pytest.skip(f"another user cannot read {closed[0]}")
        yield Someone(folder, str(python), f"mount --bind '{base}' '{opened}' &&")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _open(path: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (path, *path.parents))


def _findings(told: str) -> tuple[bool, dict[str, Any]]:
    assert told, "doctor has said nothing"
    report = json.loads(told)
    return bool(report["ok"]), {finding["key"]: finding for finding in report["findings"]}


@needs_root
async def test_a_user_who_cannot_build_is_not_told_to_be_ready(someone: Someone) -> None:
    code, told, errors = await someone.emberbox("doctor", "--json")
    ready, found = _findings(told)
    assert (code, ready) == (1, False), errors
    assert found["driver"]["level"] == "ok", found["driver"]
    assert (found["build_rights"]["level"], "usermod" in found["build_rights"]["mend"]) == ("missing", True)
    assert "no program can be run" in found["build_rights"]["follows"]

    code, _, errors = await someone.emberbox("run", "-r", "bash", "-c", "echo 42")
    assert code == 69
    assert "kernel" not in errors, "it is told before anything is built"
    assert "sudo usermod --add-subuids" in errors
    _, told, _ = await someone.emberbox("doctor")
    assert told.splitlines()[-1].removeprefix("$ ") in errors, "and it is the very line that doctor tells"


@needs_root
async def test_a_user_with_an_image_is_told_to_be_ready_and_is(someone: Someone, images: ImageStore) -> None:
    _lend(images.root, someone.data / "images")
    code, told, errors = await someone.emberbox("doctor", "--json")
    ready, found = _findings(told)
    assert (code, ready) == (0, True), errors
    assert f"uid {NOBODY}, this user's" in found["confinement"]["found"]
    assert found["build_rights"]["level"] == "warning", "what is built can be run"
    code, output, errors = await someone.emberbox("run", "-r", "bash", "-c", "echo 42")
    assert (code, output) == (0, "42\n"), errors


@needs_root
async def test_a_user_who_may_make_no_namespace_is_not_told_to_be_ready(
    someone: Someone, images: ImageStore
) -> None:
    _lend(images.root, someone.data / "images")
    barred = Someone(
        someone.folder, someone.python, f"{someone.prepare} mount --bind /bin/false /usr/bin/bwrap &&"
    )
    code, told, _ = await barred.emberbox("doctor", "--json")
    ready, found = _findings(told)
    assert (code, ready, found["driver"]["level"]) == (1, False, "missing")
    assert (await barred.emberbox("run", "-r", "bash", "-c", "echo 42"))[0] != 0


@needs_root
async def test_a_data_folder_that_is_anothers(someone: Someone) -> None:
    os.chown(someone.data, 0, 0)
    code, told, _ = await someone.emberbox("doctor", "--json")
    ready, found = _findings(told)
    assert (code, ready, found["data"]["level"], found["driver"]["level"]) == (1, False, "missing", "missing")


def _lend(store: Path, target: Path) -> None:
    """Give the user the images: files of root's that all may read, in folders of its own."""
    shutil.copytree(store, target, copy_function=_link)
    for folder, _, files in os.walk(target):
        os.chown(folder, NOBODY, NOBODY)
        for name in files:
            if name.endswith(".lock"):
                os.chown(Path(folder, name), NOBODY, NOBODY)


def _link(source: str, target: str) -> None:
    try:
        if source.endswith(".lock"):
            Path(target).touch()
        else:
            os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        Path(target).chmod(0o444)

"""Which VMM has which uid, for all engines of a host."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from emberbox.bounds import UID_BASE, UID_COUNT
from emberbox.errors import RequirementMissing, VmmStartFailed
from emberbox.vmm.process.cgroup import Cgroups
from emberbox.vmm.process.users import VmmUsers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user takes root")
FIRST = 3_000_000_000
"""No process of a host has these."""
TAKE = """
import sys
from pathlib import Path
from emberbox.vmm.process.users import VmmUsers
users = VmmUsers(int(sys.argv[1]), None, count=int(sys.argv[2]), folder=Path(sys.argv[3]))
held = [users.take(f"other-{n}") for n in range(int(sys.argv[4]))]
print(*(user.uid for user in held), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "run/users"
    made.mkdir(parents=True)
    return made


def users(folder: Path, count: int = 100, cgroups: Cgroups | None = None) -> VmmUsers:
    return VmmUsers(FIRST, cgroups, count=count, folder=folder)


def test_there_are_more_than_ten_thousand() -> None:
    assert UID_COUNT > 10_000
    assert UID_BASE + UID_COUNT < 2**32 - 1


class TestOtherProcess:
    """An engine of another data folder, which has taken 30 of 60 numbers."""

    @pytest.fixture
    def other(self, folder: Path) -> Iterator[subprocess.Popen[str]]:
        arguments = [sys.executable, "-c", TAKE, str(FIRST), "61", str(folder), "30"]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield process
            process.kill()

    def test_no_two_have_the_same(self, folder: Path, other: subprocess.Popen[str]) -> None:
        assert other.stdout is not None
        theirs = {int(word) for word in other.stdout.readline().split()}
        mine = users(folder, 61)
        ours = {mine.take(f"mine-{number}").uid for number in range(30)}
        assert len(theirs) == len(ours) == 30
        assert not theirs & ours
        assert FIRST not in theirs | ours, "the first is no machine's"
        with pytest.raises(VmmStartFailed, match="all 60 users from 3000000001 on"):
            mine.take("mine-31")

    def test_what_a_killed_one_had_is_free_once_nothing_runs_as_it(
        self, folder: Path, other: subprocess.Popen[str]
    ) -> None:
        assert other.stdout is not None
        theirs = {int(word) for word in other.stdout.readline().split()}
        mine = users(folder, 61)
        mine.prepare()
        assert len(list(folder.iterdir())) == 30, "what is held stays"
        other.kill()
        other.wait()
        assert theirs < {mine.take(f"mine-{number}").uid for number in range(60)}


async def test_what_killed_ones_left_does_not_gather(folder: Path) -> None:
    held = users(folder).take("m-1")
    (folder / str(FIRST + 70)).write_text("m-0")
    users(folder).prepare()
    assert [path.name for path in folder.iterdir()] == [str(held.uid)]
    await held.release()


async def test_a_number_is_used_again_as_late_as_can_be(folder: Path) -> None:
    mine = users(folder, 11)
    seen = []
    for number in range(20):
        user = mine.take(f"m-{number}")
        seen.append(user.uid)
        await user.release()
        await user.release()
    assert len(set(seen[:10])) == 10
    assert seen[10:] == seen[:10]
    assert list(folder.iterdir()) == [], "nothing gathers in memory"


@as_root
async def test_a_number_that_something_runs_as_is_not_used_again(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = users(folder, 2)
    user = mine.take("m-1")
    # Who changes its user by itself is hidden from whoever looks at its folder in /proc alone.
    become = "import os, sys; u = int(sys.argv[1]); os.setgroups([]); os.setgid(u); os.setuid(u)"
    waits = f"{become}; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", waits, str(user.uid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as left:
        assert left.stdout is not None
        left.stdout.readline()
        await user.release()
        assert "still runs as user" in caplog.text
        with pytest.raises(VmmStartFailed):
            users(folder, 2).take("m-2")
        uid, held = mine.hold(left.pid, "m-1")
        assert uid == user.uid
        assert held is not None
        left.kill()
    await held.release()
    assert users(folder, 2).take("m-3").uid == user.uid


@as_root
def test_a_process_that_nobody_noted_keeps_its_number_too(folder: Path) -> None:
    waits = ["/bin/sh", "-c", "read line"]
    own = {"user": FIRST + 1, "group": FIRST + 1, "extra_groups": []}
    with subprocess.Popen(waits, stdin=subprocess.PIPE, **own) as stranger:  # type: ignore[call-overload]
        try:
            with pytest.raises(VmmStartFailed):
                users(folder, 2).take("m-1")
        finally:
            stranger.kill()
    assert users(folder, 2).take("m-2").uid == FIRST + 1


async def test_a_number_whose_control_group_is_not_empty_is_not_used_again(
    folder: Path, tmp_path: Path
) -> None:
    root = tmp_path / "cgroup"
    group = root / "emberbox/m-1"
    group.mkdir(parents=True)
    for level in (root, root / "emberbox"):
        (level / "cgroup.controllers").write_text("memory pids cpu")
        (level / "cgroup.subtree_control").touch()
    (group / "cgroup.procs").write_text("4711\n")
    cgroups = Cgroups(root)
    assert cgroups.prepare(), cgroups.reason
    user = users(folder, 2, cgroups).take("m-1")
    await user.release()
    with pytest.raises(VmmStartFailed):
        users(folder, 2, cgroups).take("m-2")
    (group / "cgroup.procs").write_text("")
    assert users(folder, 2, cgroups).take("m-2").uid == user.uid


async def test_a_machine_that_is_taken_over_keeps_its_number(folder: Path) -> None:
    mine = VmmUsers(os.geteuid() - 1, None, count=2, folder=folder)
    uid, held = mine.hold(os.getpid(), "m-1")
    assert uid == os.geteuid()
    assert held is not None
    assert mine.hold(os.getpid(), "m-1") == (uid, None), "who has it already has it"
    assert users(folder).hold(os.getpid(), "m-1") == (uid, None), "and none of ours is nobody's to take"


def test_the_folder_is_made_or_its_lack_told(tmp_path: Path) -> None:
    fresh = tmp_path / "emberbox/users"
    users(fresh).prepare()
    users(fresh).prepare()
    assert fresh.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(RequirementMissing, match="cannot be used") as caught:
        users(tmp_path / "file/users").prepare()
    assert caught.value.mend == f"mkdir -p -m 700 {tmp_path / 'file/users'}"

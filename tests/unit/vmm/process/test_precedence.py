"""One VMM at a time has the processor first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.vmm.process.cgroup import Cgroup
from emberbox.vmm.process.precedence import Precedence

if TYPE_CHECKING:
    from pathlib import Path


def group(folder: Path) -> Cgroup:
    folder.mkdir()
    (folder / "cpu.weight").write_text("100")
    return Cgroup((folder,))


def weight(group: Cgroup) -> str:
    return (group.folders[0] / "cpu.weight").read_text()


def test_one_at_a_time_has_it_until_its_end(tmp_path: Path) -> None:
    precedence, first, second = Precedence(), group(tmp_path / "1"), group(tmp_path / "2")
    assert precedence.give(first)
    assert not precedence.give(second)
    assert (weight(first), weight(second)) == ("10000", "100")
    precedence.end(second)
    assert weight(first) == "10000", "who does not have it cannot end it"
    precedence.end(first)
    precedence.end(first)
    assert weight(first) == "100"
    assert precedence.give(second)
    assert weight(second) == "10000"

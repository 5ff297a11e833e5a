"""By what a VMM of ours is known among the host's processes: its program, and its command line."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.vmm.process.process import command_line

if TYPE_CHECKING:
    from collections.abc import Iterable

_CONFINING = ("bwrap", "setpriv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The mark of one driver's VMMs.

    Args:
        programs: What the names of their programs begin with.
        wrappers: The same of what confines them besides bubblewrap and setpriv.
        option: The word after which a command line names the machine.
        value: Pattern of the word that does; its one group is the machine's id.
    """

    programs: tuple[str, ...]
    option: str
    value: str
    wrappers: tuple[str, ...] = ()

    def names(self, words: list[str], machine_id: str, *, whole: bool, wrapped: bool) -> bool:
        """Tell whether a command line is of a VMM whose machine's id starts with (or is) `machine_id`.

        Args:
            words: The command line.
            machine_id: The id, or its start.
            whole: Whether it is the id itself.
            wrapped: Whether what confines a VMM, or is about to become it, counts as well.
        """
        programs = (*self.programs, *self.wrappers, *_CONFINING) if wrapped else self.programs
        if not words or not Path(words[0]).name.startswith(programs):
            return False
        values = [word for option, word in itertools.pairwise(words) if option == self.option]
        names = [found[1] for word in values if (found := re.fullmatch(self.value, word)) is not None]
        return any(name == machine_id if whole else name.startswith(machine_id) for name in names)


def marked(
    marks: Iterable[Mark], pid: int, machine_id: str = "", *, whole: bool = False, wrapped: bool = False
) -> bool:
    """Return whether the process `pid` is a VMM of ours.

    Args:
        marks: How VMMs are known.
        pid: The process.
        machine_id: What the id of its machine starts with.
        whole: Whether that is the id itself.
        wrapped: Whether what confines a VMM, or is about to become it, counts as well.
    """
    return named(marks, command_line(pid), machine_id, whole=whole, wrapped=wrapped)


def named(marks: Iterable[Mark], words: list[str], machine_id: str, *, whole: bool, wrapped: bool) -> bool:
    """Return whether a command line is of a VMM of ours; arguments as for `Mark.names`."""
    return any(mark.names(words, machine_id, whole=whole, wrapped=wrapped) for mark in marks)

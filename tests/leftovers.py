"""What VMMs are left of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.vmm.process.marks import marked
from emberbox.vmm.process.process import all_pids

if TYPE_CHECKING:
    from collections.abc import Collection

    from emberbox.vmm.process.marks import Mark


def find_leftovers(marks: Collection[Mark], machine_id: str) -> list[int]:
    """Return the pids of the VMMs, known by `marks`, of machines whose ids start with `machine_id`."""
    return [pid for pid in all_pids() if marked(marks, pid, machine_id)]

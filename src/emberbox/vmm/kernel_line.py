"""The command line that a guest's kernel is booted with, whichever VMM boots it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

QUIET = ("quiet", "loglevel=1")
"""Only a kernel's last words come through: each line on a serial console takes longer than what it
tells of."""
TALKATIVE = ("loglevel=7", "earlyprintk=ttyS0")
"""Everything comes through, from before the console is there."""


def kernel_line(words: Iterable[str], *, talkative: bool) -> str:
    """Return the command line of `words`; for a talkative kernel without those that have it say nothing."""
    kept = [word for word in words if not (talkative and word in QUIET)]
    return " ".join([*kept, *TALKATIVE] if talkative else kept)

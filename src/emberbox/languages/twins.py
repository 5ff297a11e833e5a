"""Clones of one template are told apart: no line of `twins` may be the same in two of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from emberbox.languages.examples import TWINS
from emberbox.languages.subject import expect
from emberbox.languages.verdict import Skipped, Wrong
from emberbox.model import RunStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from emberbox.languages.subject import Subject

CLONES = 20
QUICK_CLONES = 4
AT_ONCE = 4
"""Clones that live at the same time."""


async def twins(subject: Subject, clones: int = CLONES) -> str:
    """Run `twins` in `clones` clones of one template and compare what they drew, line by line.

    It is run as inline code, which is what a held interpreter runs.
    """
    if not subject.examples.has(TWINS):
        name = subject.examples.path(TWINS).name
        if subject.runtime.waiting is not None:
            raise Wrong(
                f"an interpreter waits in the template, and there is no examples/{name} "
                "that shows its clones to be different",
                f"write examples/{name}: one line for each random generator",
            )
        raise Skipped(f"there is no {name}, and no interpreter waits in the template")
    lines = compare(await _drawn(subject, subject.examples.path(TWINS), clones))
    return f"{lines} generators, all different in {clones} clones"


async def _drawn(subject: Subject, path: Path, clones: int) -> list[list[str]]:
    places = asyncio.Semaphore(AT_ONCE)

    async def draw() -> list[str]:
        async with places:
            result = await subject.run(path.read_bytes())
        expect(result, RunStatus.SUCCEEDED, mend=f"mend {path.name}")
        return result.stdout.splitlines()

    # Not a group of tasks: its error would hide the one check's own.
    drawn = await asyncio.gather(*(draw() for _ in range(clones)), return_exceptions=True)
    for one in drawn:
        if isinstance(one, BaseException):
            raise one
    return [one for one in drawn if not isinstance(one, BaseException)]


def compare(drawn: Sequence[Sequence[str]]) -> int:
    """Return how many lines each clone drew; raises `Wrong` when one is the same in two of them.

    Args:
        drawn: The lines of each clone.
    """
    lengths = {len(lines) for lines in drawn}
    if len(lengths) != 1 or 0 in lengths:
        raise Wrong(
            f"clones printed {sorted(lengths)} lines",
            "let the program print the same number of lines each time, at least one",
        )
    for number, values in enumerate(zip(*drawn, strict=True), 1):
        same = len(values) - len(set(values))
        if same:
            often = max(set(values), key=values.count)
            raise Wrong(
                f"line {number} is the same in {values.count(often)} of {len(values)} clones: {often!r}",
                "reseed that generator between the clone and the program, or keep no interpreter waiting",
            )
    return lengths.pop()

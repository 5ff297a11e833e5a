"""A program that waited in the template must end as one that was started for the run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from emberbox.errors import CompileFailed
from emberbox.languages.examples import NUMBERS, REQUIRED
from emberbox.languages.verdict import Skipped, Wrong

if TYPE_CHECKING:
    from emberbox.languages.subject import Subject
    from emberbox.model import RunResult

ORDINARY = {"LC_EMBERBOX": "1"}
"""A variable that means nothing to any language, and that no program that waits may come to have."""
_PLACES = re.compile(r"0x[0-9a-f]+|\b[0-9A-F]{8,}\b")


async def waiting(subject: Subject) -> str:
    """Run the examples as inline code, by what waits and by what does not, and compare the two."""
    if subject.runtime.waiting is None:
        raise Skipped("nothing waits in the template")
    names = [name for name in REQUIRED if subject.examples.has(name)]
    for name in names:
        code = subject.examples.path(name).read_bytes()
        waited, took = await _run(subject, code, {})
        plain, _ = await _run(subject, code, ORDINARY)
        if waited is None or plain is None:  # the compiler refused it: nothing was run
            continue
        if not took:
            raise Wrong(
                f"what waits did not run {name} as inline code",
                "see spec/waiting-interpreter.md for what it may run",
            )
        _compare(name, waited, plain)
    return f"{', '.join(names)}: the same by what waits and by what is started"


async def _run(subject: Subject, code: bytes, env: dict[str, str]) -> tuple[RunResult | None, bool]:
    """Return the result and whether what waits ran it; None where it does not compile."""
    async with subject.engine.sandbox(subject.runtime.name) as sandbox:
        try:
            process = await sandbox.start_script(code, stdin=True, env=env)
        except CompileFailed:
            return None, False
        async with process:
            return await process.collect(NUMBERS), process.by_waiting_interpreter


def _compare(name: str, waited: RunResult, plain: RunResult) -> None:
    for what, one, other in (
        (
            "ends",
            (waited.status.value, waited.exit_code, waited.signal),
            (plain.status.value, plain.exit_code, plain.signal),
        ),
        ("prints", waited.stdout_data, plain.stdout_data),
        ("says on standard error", _placeless(waited.stderr), _placeless(plain.stderr)),
    ):
        if one != other:
            raise Wrong(
                f"{name} {what} {str(one)[:160]} by what waits, and {str(other)[:160]} when it is started",
                "mend what waits, or let nothing wait",
            )


def _placeless(text: str) -> str:
    """Return a message without the addresses of things in memory."""
    return _PLACES.sub("…", text)

"""Tells people how a build goes: a moving bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import TYPE_CHECKING, Self

from emberbox.cli.failures import printable, write_line

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress as RichBar

_log = logging.getLogger(__name__)


class LineDisplay:
    """One line for each step."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._last = ""
        self._begun = time.monotonic()

    def step(self, name: str, fraction: float | None) -> None:
        """Write a line when the step's name is a new one."""
        if name != self._last:
            self._last = name
            done = "" if fraction is None else f" ({fraction:.0%})"
            write_line(printable(f"{self._label}: {name}{done}"))

    def finish(self, *, ok: bool) -> None:
        """Write how long it took."""
        if ok:
            write_line(f"{self._label}: done in {time.monotonic() - self._begun:.1f} s")


class BarDisplay:
    """A bar that moves, with the step's name and the time that went by."""

    def __init__(self, label: str) -> None:
        self._bar = _make_bar()
        self._label = label
        self._task = self._bar.add_task("", label=label, total=None)
        self._bar.start()

    def step(self, name: str, fraction: float | None) -> None:
        """Show the step and how far the whole is."""
        self._bar.update(
            self._task,
            description=printable(name),
            total=1.0 if fraction is not None else None,
            completed=fraction or 0.0,
        )

    def finish(self, *, ok: bool) -> None:
        """Stop moving; a build that went well leaves one line."""
        if ok:
            self._bar.update(self._task, description="done", total=1.0, completed=1.0)
        self._bar.stop()


def _make_bar() -> RichBar:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(finished_text=" "),
        TextColumn("{task.fields[label]}", markup=False),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=Console(stderr=True, highlight=False, markup=False),
    )


class ShownProgress:
    """A build's progress, for people. Use it with `with`, in a running event loop.

    Args:
        label: What the work is.
        after_s: Seconds until it is shown, so that the usual quick case is silent and costs
            nothing; 0 to show it from the start.
    """

    def __init__(self, label: str, *, after_s: float = 0.0) -> None:
        self._label = label
        self._after_s = after_s
        self._display: BarDisplay | LineDisplay | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._latest: tuple[str, float | None] | None = None

    def __enter__(self) -> Self:
        if self._after_s:
            self._timer = asyncio.get_running_loop().call_later(self._after_s, self._show)
        else:
            self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._display is not None:
            self._display.finish(ok=error is None)

    def _show(self) -> None:
        self._display = BarDisplay(self._label) if sys.stderr.isatty() else LineDisplay(self._label)
        if self._latest is not None:
            self._display.step(*self._latest)

    def step(self, name: str, fraction: float | None) -> None:
        """Remember the step, and show it once anything is shown."""
        self._latest = (name, fraction)
        if self._display is not None:
            self._display.step(name, fraction)

    def log(self, line: str) -> None:
        """Hand a line that a tool printed to the log."""
        _log.debug("%s", line, extra={"action": "cli.tool"})

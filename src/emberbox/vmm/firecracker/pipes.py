"""Reads Firecracker's log, metrics and guest console, each bounded and never waited for.

What is not read in time is lost on Firecracker's side (it writes without blocking and counts that),
so pipes are emptied as soon as something is in them. Source: Firecracker's docs/metrics.md and
docs/logger.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_PIECE = 65_536
_PIECES_AT_ONCE = 2
_PIECES_IN_ALL = 16
_PAUSE_S = 0.05
_LINE_BYTES = 65_536
_LINES_AT_ONCE = 64
_COUNTERS = 4096
_TAIL_BYTES = 16_384


class PipeReader:
    """Hands everything that comes out of a pipe to `take`, in the running loop.

    Args:
        descriptor: Open for reading without blocking; closed by `close`.
        take: Called with each piece.
    """

    def __init__(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        self._descriptor = descriptor
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._listen()

    def drain(self) -> None:
        """Take what is in the pipe now, a bounded part of it. Never blocks."""
        if self._full(_PIECES_AT_ONCE):
            # Whoever fills it faster than that shall not take this process's time from all other machines.
            self._loop.remove_reader(self._descriptor)
            self._pause = self._loop.call_later(_PAUSE_S, self._listen)

    def close(self) -> None:
        """Take what is left and close the pipe. Repeating is harmless."""
        if self._descriptor >= 0:
            self._full(_PIECES_IN_ALL)
            if self._pause is not None:
                self._pause.cancel()
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1

    def _listen(self) -> None:
        self._loop.add_reader(self._descriptor, self.drain)

    def _full(self, pieces: int) -> bool:
        """Take that many pieces; False when there were fewer."""
        for _ in range(pieces):
            try:
                piece = os.read(self._descriptor, _PIECE)
            except BlockingIOError:
                return False
            except OSError:
                piece = b""
            if not piece:
                self._loop.remove_reader(self._descriptor)
                return False
            self._take(piece)
        return True


class BoundedLog:
    """A file that takes the first `bound` bytes of a stream, and the last few KiB in memory.

    Args:
        path: Appended to; made when missing.
        bound: Bytes.
    """

    def __init__(self, path: Path, bound: int) -> None:
        self._path = path
        self._bound = bound
        self._tail = b""

    def take(self, piece: bytes) -> None:
        """Keep what there is room for. A disk that is full loses it."""
        self._tail = (self._tail + piece)[-_TAIL_BYTES:]
        with contextlib.suppress(OSError), self._path.open("ab") as file:
            room = self._bound - file.tell()
            if room > 0:
                file.write(piece[:room])

    def tail(self) -> str:
        """Return the last few KiB; bytes that are not text are replaced."""
        return self._tail.decode("utf-8", "replace")


class MetricsReader:
    """Adds up Firecracker's metrics: JSON objects, one a line, whose counters start anew each time.

    A last line that was torn by the VMM's end, lines that are no metrics, and those beyond what a VMM
    writes at once, are passed over and counted in `torn`.
    """

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.lines = 0
        self.torn = 0
        self._rest = b""
        self._changed = asyncio.Event()

    def take(self, piece: bytes) -> None:
        """Take the next piece of the stream."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines[:_LINES_AT_ONCE]:
            self._add(line)
        self.torn += max(0, len(lines) - _LINES_AT_ONCE)
        if len(self._rest) > _LINE_BYTES:
            self._rest = b""
            self.torn += 1

    async def next_line(self, after: int, timeout_s: float) -> None:
        """Wait until more than `after` lines were read, for `timeout_s` at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self.lines <= after:
                    self._changed.clear()
                    await self._changed.wait()

    def _add(self, line: bytes) -> None:
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            self.torn += 1
            return
        self._sum("", values, 0)
        self.lines += 1
        self._changed.set()

    def _sum(self, prefix: str, values: dict[str, Any], depth: int) -> None:
        for name, value in values.items():
            if isinstance(value, dict) and depth < 4:
                self._sum(f"{prefix}{name}.", value, depth + 1)
            elif type(value) is int and (
                len(self.counters) < _COUNTERS or f"{prefix}{name}" in self.counters
            ):
                key = f"{prefix}{name}"
                self.counters[key] = value if _is_level(name) else self.counters.get(key, 0) + value


def _is_level(name: str) -> bool:
    """Return whether a metric is a state, not a count of events since the line before."""
    return name.endswith(("_us", "_ms", "_fc")) and not name.startswith("sum_")

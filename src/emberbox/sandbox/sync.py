"""The engine for code that is not asynchronous: one shared engine on a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from emberbox.sandbox.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from emberbox.model import RunResult

_T = TypeVar("_T")


class EngineThread:
    """An engine whose event loop runs on a background thread. Ended by `close`, or with the interpreter."""

    def __init__(self, **flags: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="emberbox-engine", daemon=True)
        self._thread.start()
        self._closed = False
        try:
            self.engine = self.call(Engine(**flags).__aenter__())
        except BaseException:
            self._stop()
            raise
        atexit.register(self.close)

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run `work` on the engine's loop and wait for it; an interrupt of the waiting thread cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """End the engine and its thread. Repeating is harmless."""
        if not self._closed:
            self._closed = True
            atexit.unregister(self.close)
            try:
                self.call(self.engine.close())
            finally:
                self._stop()

    def _stop(self) -> None:
        self._closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


_shared: EngineThread | None = None
_lock = threading.Lock()


def shared_engine() -> EngineThread:
    """Return the process's own engine, started at its first use."""
    global _shared
    with _lock:
        if _shared is None or _shared._closed:
            _shared = EngineThread()
        return _shared


def run(code: Any, args: Any = (), *, runtime: str, **options: Any) -> RunResult:
    """Run one script in a microVM of its own and return its result; arguments as for `Engine.run`.

    The first call starts an engine that is kept for the next ones and ended with the interpreter.
    May be called from any thread, also where an event loop runs.
    """
    shared = shared_engine()
    return shared.call(shared.engine.run(code, args, runtime=runtime, **options))

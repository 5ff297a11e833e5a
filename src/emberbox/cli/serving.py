"""The life of a service process: from its claim on the data folder to its end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from emberbox.api.app import create_app
from emberbox.cli import exit_codes
from emberbox.cli.connections import BACKLOG, Server
from emberbox.cli.context import image_store
from emberbox.cli.serve import introduction
from emberbox.cli.service_log import configure_service_log
from emberbox.cli.systemd import feed_watchdog, notify, watchdog_interval_s
from emberbox.errors import InvalidInput, NotReady, ServiceStopping
from emberbox.jobs.first_key import ensure_admin_key
from emberbox.jobs.folder import ServiceFolder
from emberbox.jobs.service import Service

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from emberbox.cli.serve import ServeOptions
    from emberbox.config import Settings

_log = logging.getLogger(__name__)

SWITCH_S = 0.001
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_service(settings: Settings, options: ServeOptions, engine: Any = None) -> int:
    """Run the service until a signal ends it, and return the exit code.

    Args:
        settings: All settings.
        options: What else the command line says.
        engine: Runs the jobs; None makes one.

    Raises:
        DataFolderBusy: Another service has the data folder.
        InvalidInput: The address cannot be listened on.
        EmberboxError: The service could not start; the message says why.
    """
    configure_service_log(options.log_level, options.log_format)
    # The event loop waits for the interpreter behind the database's threads; by default up to 5 ms.
    sys.setswitchinterval(SWITCH_S)
    with ServiceFolder.claim(settings.data) as folder, listening(settings.server.host, settings.server.port) as listener:
        return asyncio.run(_run(settings, options, folder, listener, engine))


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on an address. Those who connect before the service is ready wait for it."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        message = f"cannot listen on {host} port {port}: {reason}; choose others with --host and --port"
        raise InvalidInput(message) from error
    with listener:
        yield listener


async def _run(settings: Settings, options: ServeOptions, folder: ServiceFolder, listener: socket.socket, engine: Any) -> int:
    stop = StopSignals()
    with stop.watched():
        serving = asyncio.create_task(_serve(settings, options, folder, listener, engine, stop), name="serve")
        stop.interrupts(serving)
        await asyncio.wait({serving})
    if not serving.cancelled():
        serving.result()
    if stop.received is None:
        return exit_codes.FAILURE
    # Who asks for the end by SIGTERM, as systemd does, gets what was asked for.
    return exit_codes.OK if stop.received is signal.SIGTERM else exit_codes.INTERRUPTED


async def _serve(
    settings: Settings, options: ServeOptions, folder: ServiceFolder, listener: socket.socket, engine: Any, stop: StopSignals
) -> None:
    async with Service(settings, engine=engine) as service, contextlib.AsyncExitStack() as stack:
        secret = await ensure_admin_key(service.keys, folder, renew=options.new_admin_key)
        server = Server(create_app(service), message_bytes=settings.server.body_bytes)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        stack.push_async_callback(server.end, serving)
        await server.up(serving)
        url = _url(settings.server.host, listener)
        unbuilt = await asyncio.to_thread(_unbuilt, service)
        # All that lives now lives on: later collections need not look through it, and pause for less.
        gc.collect()
        gc.freeze()
        _say(introduction(service, url, folder.admin_key_file, secret, unbuilt))
        folder.announce(url, version("emberbox"))
        notify(f"READY=1\nSTATUS=Ready at {url}")
        checking = asyncio.create_task(_warn_of_failings(service), name="first check")
        stack.callback(checking.cancel)
        if (interval_s := watchdog_interval_s()) is not None:
            watchdog = asyncio.create_task(feed_watchdog(interval_s), name="watchdog")
            stack.callback(watchdog.cancel)
        await stop.first(serving)
        notify("STOPPING=1\nSTATUS=Waiting for jobs to end")
        _log.info("stopping", extra={"action": "service.stopping", "signal": stop.name})
        service.drain()
        await stop.unless_hurried(service.worker.stop(), service.worker.stop(0))
        service.let_go()
        server.force_exit = stop.hurried


class StopSignals:
    """SIGTERM and SIGINT: the first one asks for an end in good order, the second one for an end at once."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._asked = asyncio.Event()
        self._hurry = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None

    @property
    def name(self) -> str:
        """The first signal's name; empty before it."""
        return "" if self.received is None else self.received.name

    @property
    def hurried(self) -> bool:
        """Whether the end was asked for twice."""
        return self._hurry.is_set()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Take the signals while the block runs."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self._take, number)
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def _take(self, number: signal.Signals) -> None:
        if self.received is not None:
            self._hurry.set()
            return
        self.received = signal.Signals(number)
        self._asked.set()
        if self._starting is not None:
            self._starting.cancel()

    def interrupts(self, starting: asyncio.Task[None]) -> None:
        """Let a signal cancel the start, until `first` is called."""
        self._starting = starting

    async def first(self, serving: asyncio.Task[None]) -> None:
        """Wait for the first signal; raises what ended the server, should it end by itself."""
        self._starting = None
        waiting = asyncio.create_task(self._asked.wait(), name="signal")
        try:
            await asyncio.wait({waiting, serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if serving.done():
            serving.result()

    async def unless_hurried(self, work: Coroutine[Any, Any, None], instead: Coroutine[Any, Any, None]) -> None:
        """Wait for `work`, which a second signal brings to its end by running `instead`."""
        working = asyncio.create_task(work, name="drain")
        hurry = asyncio.create_task(self._hurry.wait(), name="hurry")
        try:
            await asyncio.wait({working, hurry}, return_when=asyncio.FIRST_COMPLETED)
            if self.hurried:
                await instead
            await working
        finally:
            hurry.cancel()
            working.cancel()
            instead.close()
            await asyncio.wait({working, hurry})


def _url(host: str, listener: socket.socket) -> str:
    """Return the address for programs of this machine."""
    port = listener.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):  # noqa: S104  compared, not bound
        host = "127.0.0.1" if host != "::" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _warn_of_failings(service: Service) -> None:
    """Log what is not well from the start, such as a blob store that refuses the credentials: only `/readyz` would tell it."""
    with contextlib.suppress(NotReady, ServiceStopping):
        await service.node.check_ready()


def _unbuilt(service: Service) -> list[str]:
    images = image_store(service.settings)
    return [runtime.name for runtime in service.engine.runtimes if images.find(runtime) is None]


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

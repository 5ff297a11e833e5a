"""The life of a service process: from its claim on the data folder to its end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from emberbox.api.app import create_app
from emberbox.errors import InvalidInput, NotReady, ServiceStopping
from emberbox.server.allocator import settle_allocator
from emberbox.server.connections import BACKLOG, Server
from emberbox.server.first_key import ensure_admin_key
from emberbox.server.introduction import introduction, local_url, unbuilt_runtimes
from emberbox.server.stop_signals import StopSignals
from emberbox.server.systemd import feed_watchdog, notify, watchdog_interval_s
from emberbox.service.folder import ServiceFolder
from emberbox.service.service import Service
from emberbox.tasks import TaskKeeper

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator

    from emberbox.config import Settings

_log = logging.getLogger(__name__)

SWITCH_S = 0.001


def run_service(
    settings: Settings, engine: Any = None, *, new_admin_key: bool = False
) -> signal.Signals | None:
    """Run the service until a signal ends it, and return that signal; None when it ended by itself.

    Args:
        settings: All settings.
        engine: Runs the jobs; None makes one.
        new_admin_key: Make another admin key, for those who lost theirs.

    Raises:
        DataFolderBusy: Another service has the data folder.
        InvalidInput: The address cannot be listened on.
        EmberboxError: The service could not start; the message says why.
    """
    # The event loop waits for the interpreter behind the database's threads; by default up to 5 ms.
    sys.setswitchinterval(SWITCH_S)
    settle_allocator()
    with (
        ServiceFolder.claim(settings.data) as folder,
        listening(settings.server.host, settings.server.port) as listener,
    ):
        stop = StopSignals()
        work = _serve(settings, folder, listener, engine, stop, new_admin_key=new_admin_key)
        return asyncio.run(stop.around(work))


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen on an address. Those who connect before the service is ready wait for it."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        message = f"cannot listen on {host} port {port}: {reason}; choose others with --host and --port"
        raise InvalidInput(message) from error
    with listener:
        yield listener


async def _serve(
    settings: Settings,
    folder: ServiceFolder,
    listener: socket.socket,
    engine: Any,
    stop: StopSignals,
    *,
    new_admin_key: bool,
) -> None:
    async with Service(settings, engine=engine) as service, contextlib.AsyncExitStack() as stack:
        secret = await ensure_admin_key(service.keys, folder, renew=new_admin_key)
        server = Server(create_app(service), message_bytes=settings.server.body_bytes)
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
        stack.push_async_callback(server.end, serving)
        await server.up(serving)
        url = local_url(settings.server.host, listener)
        unbuilt = await asyncio.to_thread(unbuilt_runtimes, service)
        # All that lives now lives on: later collections need not look through it, and pause for less.
        gc.collect()
        gc.freeze()
        _say(introduction(service, url, folder.admin_key_file, secret, unbuilt))
        folder.announce(url, version("emberbox"))
        notify(f"READY=1\nSTATUS=Ready at {url}")
        beside = TaskKeeper()
        stack.push_async_callback(beside.cancel)
        beside.start(_warn_of_failings(service), "first check")
        if (interval_s := watchdog_interval_s()) is not None:
            beside.start(feed_watchdog(interval_s), "watchdog")
        await stop.first(serving)
        notify("STOPPING=1\nSTATUS=Waiting for jobs to end")
        _log.info("stopping", extra={"action": "service.stopping", "signal": stop.name})
        service.drain()
        await stop.unless_hurried(service.worker.stop(), service.worker.stop(0))
        service.live.release_followers()
        server.force_exit = stop.hurried


async def _warn_of_failings(service: Service) -> None:
    """Log what is not well from the start, such as a blob store that refuses the credentials.

    Otherwise only `/readyz` would tell it.
    """
    with contextlib.suppress(NotReady, ServiceStopping):
        await service.node.check_ready()


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

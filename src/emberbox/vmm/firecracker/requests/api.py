"""The client of one Firecracker process's API: HTTP/1.1 over the Unix socket in its jail.

Success is 204, or 200 with a body; a refusal is 400 with a `fault_message`. One thread of
Firecracker answers all requests, one after the other, and takes no more than 51,200 bytes of body
and 10 connections: requests of one client therefore go one by one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from typing import TYPE_CHECKING, Any

from emberbox.errors import VmmDied, VmmError, VmmTimeout
from emberbox.vmm.firecracker.requests.answers import BalloonStatistics, state_of
from emberbox.vmm.firecracker.requests.faults import FirecrackerFault, harmless
from emberbox.vmm.firecracker.requests.wire import (
    judge,
    new_client,
    open_socket,
    prepare,
    read_answer,
)
from emberbox.vmm.process import sockets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import httpx

    from emberbox.vmm.firecracker.requests.request import Request

_log = logging.getLogger(__name__)

TIMEOUT_S = 10.0
# The API's thread itself writes a snapshot's memory, and reads one.
_LONG_S = {"/snapshot/create": 600.0, "/snapshot/load": 120.0}
_POLL_S = 0.002
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
_UNKNOWN = re.compile(r"unknown field `([^`]{1,64})`")


class FirecrackerApi:
    """Requests to one Firecracker process, in the order in which they are made.

    The socket is pinned when it is first used: a longer path than an address holds, or a link put
    into the jail, change nothing.

    Args:
        socket: Firecracker's API socket, seen from outside of the jail.
        name: The machine's id, for messages and logs.
        unknown: Fields that this Firecracker was found not to know ("/snapshot/load: clock_realtime");
            grows here. Hand the same set to the next machine of the same binary, and it is not
            asked again. None for a new set.
    """

    def __init__(self, socket: Path, *, name: str, unknown: set[str] | None = None) -> None:
        self.unknown = set() if unknown is None else unknown
        self._socket = socket
        self._name = name
        self._pinned: int | None = None
        self._client: httpx.AsyncClient | None = None
        self._closed = False
        self._turn = asyncio.Lock()

    async def ready(self, timeout_s: float, alive: Callable[[], bool]) -> None:
        """Wait until the socket takes connections.

        Args:
            timeout_s: How long to wait.
            alive: Tells at once whether the process still runs.

        Raises `VmmDied` when it does not, `VmmTimeout`, or `VmmError` when no socket is there but
        something else. Repeatable.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await prepare()
                while not self._takes_connections():
                    if not alive():
                        raise VmmDied(f"Firecracker of machine {self._name} ended before it took requests")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise VmmTimeout(
                f"Firecracker of machine {self._name} took no requests within {timeout_s:g} s"
            ) from error

    async def send(self, request: Request, *, timeout_s: float | None = None) -> None:
        """Make a request and wait until it is carried out.

        Args:
            request: Which one.
            timeout_s: From when its turn has come; None for 10 s, for a snapshot 600 s to make and
                120 s to load.

        Raises `FirecrackerFault` (nothing was done), `VmmDied`, `VmmError` for any other answer, or
        `VmmTimeout`: after that, as after a cancellation, it may still be carried out.
        """
        while True:
            body = {
                name: value
                for name, value in request.body.items()
                if f"{request.path}: {name}" not in self.unknown
            }
            try:
                await self._exchange(request.method, request.path, body, timeout_s)
                return
            except FirecrackerFault as fault:
                self._do_without(request, body, fault)

    async def state(self) -> str:
        """Return "Not started", "Running" or "Paused". Raises as `send` does."""
        return state_of(await self._exchange("GET", "/", None, None))

    async def balloon_statistics(self) -> BalloonStatistics:
        """Return what the guest told last of its memory; a fault where statistics are off.

        Raises as `send` does.
        """
        return BalloonStatistics.parse(await self._exchange("GET", "/balloon/statistics", None, None))

    async def close(self) -> None:
        """Close the connection and let go of the socket; Firecracker goes on. A request under way fails.

        May be repeated.
        """
        self._closed = True
        client, self._client = self._client, None
        try:
            if client is not None:
                await client.aclose()
        finally:
            self._unpin()

    def _do_without(self, request: Request, body: Mapping[str, Any], fault: FirecrackerFault) -> None:
        """Note an optional field that Firecracker does not know; raise the fault for another reason."""
        found = _UNKNOWN.search(fault.fault_message)
        if found is None or found[1] not in request.optional or found[1] not in body:
            raise fault
        field = f"{request.path}: {found[1]}"
        self.unknown.add(field)
        _log.info(
            "this Firecracker does not know %s",
            field,
            extra={"action": "vmm.field_unknown", "machine": self._name, "field": field},
        )

    async def _exchange(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float | None
    ) -> Any:
        """Make one request; the one way by which anything reaches Firecracker."""
        request = f"{method} {path}"
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        bound_s = _LONG_S.get(path, TIMEOUT_S) if timeout_s is None else timeout_s
        async with self._turn:
            if self._client is None:
                self._client = new_client(self._pin())
            try:
                async with asyncio.timeout(bound_s):
                    status, answer = await self._speak(self._client, method, path, content)
            except TimeoutError as error:
                raise VmmTimeout(
                    f"Firecracker of machine {self._name} did not answer {request} within {bound_s:g} s"
                ) from error
        return judge(request, status, answer)

    async def _speak(
        self, client: httpx.AsyncClient, method: str, path: str, content: bytes | None
    ) -> tuple[int, bytes]:
        import httpx

        request = f"{method} {path}"
        try:
            async with client.stream(
                method, f"http://localhost{path}", content=content, headers=_HEADERS
            ) as answer:
                return answer.status_code, await read_answer(request, answer)
        except httpx.NetworkError as error:
            raise VmmDied(
                f"Firecracker of machine {self._name} is gone: {request} failed", detail=repr(error)
            ) from error
        except httpx.HTTPError as error:
            if isinstance(error, httpx.RemoteProtocolError) and re.search(
                "disconnected|closed connection", str(error)
            ):
                raise VmmDied(
                    f"Firecracker of machine {self._name} ended during {request}", detail=str(error)
                ) from error
            raise VmmError(
                f"Firecracker's answer to {request} is not HTTP", detail=harmless(str(error))
            ) from error
        except RuntimeError as error:
            if not self._closed:
                raise
            raise VmmError(f"the API of machine {self._name} was closed during {request}") from error

    def _takes_connections(self) -> bool:
        try:
            sockets.connect(self._pin()).close()
        except (VmmDied, OSError):
            # What was pinned may be the leftover of another process: look again at the next turn.
            self._unpin()
            return False
        return True

    def _pin(self) -> Path:
        if self._closed:
            raise VmmError(f"the API of machine {self._name} is closed")
        if self._pinned is None:
            self._pinned = open_socket(self._socket)
        return type(self._socket)(f"/proc/self/fd/{self._pinned}")

    def _unpin(self) -> None:
        pinned, self._pinned = self._pinned, None
        if pinned is not None:
            os.close(pinned)

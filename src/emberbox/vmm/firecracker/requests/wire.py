"""One exchange with Firecracker's API: the socket, the HTTP client, and what an answer may be."""

from __future__ import annotations

import asyncio
import errno
import importlib
import json
import sys
from typing import TYPE_CHECKING, Any

from emberbox.errors import VmmDied, VmmError
from emberbox.vmm.firecracker.requests.faults import FirecrackerFault, harmless
from emberbox.vmm.process import sockets

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

_REFUSED = (400, 413)
LARGEST_ANSWER = 65_536
CONNECTIONS = 4
"""Of the 10 that Firecracker takes; the others are for people who look at a machine by hand."""


async def prepare() -> None:
    """Load the HTTP library in a thread: that takes a tenth of a second, while a machine starts."""
    if "httpx" not in sys.modules:
        await asyncio.to_thread(importlib.import_module, "httpx")


def open_socket(path: Path) -> int:
    """Open a socket without connecting to it.

    Raises `VmmDied` when nothing is there, `VmmError` when no socket is.
    """
    try:
        return sockets.pin(path)
    except OSError as error:
        if error.errno != errno.ENOTSOCK:
            raise VmmDied("Firecracker's API socket is not there", detail=str(error)) from error
        raise VmmError(
            "what is in the place of Firecracker's API socket is no socket; the machine is not trusted",
            detail=str(path),
        ) from error


def new_client(socket: Path) -> httpx.AsyncClient:
    """Return a client of this socket alone: no proxy, redirect or encryption, and few connections."""
    import httpx

    from emberbox.vmm.firecracker.requests.paced import paced_transport

    return httpx.AsyncClient(
        transport=paced_transport(socket, connections=CONNECTIONS, most_bytes=2 * LARGEST_ANSWER),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(None),
        headers={"Accept-Encoding": "identity"},
    )


async def read_answer(request: str, answer: httpx.Response) -> bytes:
    """Return the body of an answer. Raises `VmmError` when it is too large."""
    read = bytearray()
    # Raw: a packed answer would not be bounded by its size.
    async for part in answer.aiter_raw():
        read += part
        if len(read) > LARGEST_ANSWER:
            raise VmmError(f"Firecracker's answer to {request} is larger than {LARGEST_ANSWER:,} bytes")
    return bytes(read)


def judge(request: str, status: int, answer: bytes) -> Any:
    """Return what a successful answer holds, None for nothing; raise for all others."""
    if status == 204:
        return None
    told = _parse(request, status, answer)
    if status == 200:
        return told
    # Its HTTP layer says "error" for what it does not even read, and 503 when its connections are used up.
    fault = told.get("fault_message", told.get("error")) if isinstance(told, dict) else None
    if status == 503:
        raise VmmError(
            f"Firecracker had no connection left for {request}: 10 others are open",
            detail=harmless(repr(told)),
        )
    if status not in _REFUSED or not isinstance(fault, str):
        raise VmmError(
            f"Firecracker answered {request} in a way that is none of its own (status {status})",
            detail=harmless(repr(told)),
        )
    raise FirecrackerFault(request, status, harmless(fault))


def _parse(request: str, status: int, answer: bytes) -> Any:
    try:
        # Its HTTP layer puts a line break into a string as it is.
        return json.loads(answer, strict=False)
    except (ValueError, RecursionError) as error:
        said = harmless(answer[:512].decode(errors="replace"))
        raise VmmError(
            f"Firecracker's answer to {request} (status {status}) is not JSON", detail=said
        ) from error

"""All connections of one device, and which packet belongs to which."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from typing import TYPE_CHECKING

from .connection import Connection
from .packet import HOST, STREAM, Operation, Packet

if TYPE_CHECKING:
    from pathlib import Path

    from .queues import Queues

_log = logging.getLogger(__name__)

FIRST_PORT = 1 << 30
"""The lowest port on the host's side; as in Firecracker."""
_MAX_WAITING = 256
_BURST = 128
_MAX_CONNECTIONS = 1023


class Multiplexer:
    """Moves packets between the guest's queues and the connections.

    Args:
        guest_cid: The guest's context id.
        uds_path: Ports that the guest connects to are the Unix sockets of this path with `_PORT` behind it.
        queues: The guest's queues.
        request_s: Seconds that the guest has for accepting a connection.
    """

    def __init__(self, guest_cid: int, uds_path: Path, queues: Queues, request_s: float) -> None:
        self.guest_cid = guest_cid
        self._uds_path = uds_path
        self._queues = queues
        self._request_s = request_s
        self._connections: dict[tuple[int, int], Connection] = {}
        self._waiting: deque[Packet] = deque()
        self._next_port = FIRST_PORT
        self.deaf = False
        """Whether the guest gets nothing any more."""

    def request(self, host: socket.socket, guest_port: int) -> None:
        """Ask the guest for a connection to one of its ports.

        The host hears `OK <its port>`, or that its socket is closed.
        """
        if len(self._connections) >= _MAX_CONNECTIONS:
            host.close()
            return
        port = self._free_port()
        connection = Connection(self, host, port, guest_port, f"OK {port}\n".encode())
        self._connections[connection.ports] = connection
        self.send(connection.say(Operation.REQUEST))
        connection.expire(self._request_s)
        self.flush()

    def room(self) -> int:
        """Return how many data bytes the guest's next buffer takes; negative when others come first."""
        return -1 if self._waiting or self.deaf else self._queues.room()

    def send(self, packet: Packet) -> None:
        """Send a packet as soon as the guest has a buffer for it."""
        if not self._waiting and not self.deaf and self._queues.room() >= len(packet.data):
            self._queues.put(packet)
        else:
            self._waiting.append(packet)

    def process(self) -> None:
        """Do all that can be done now: called when the guest or the VMM changed something."""
        self._drain()
        for _ in range(_BURST):
            if len(self._waiting) >= _MAX_WAITING or (taken := self._queues.take()) is None:
                break
            if taken[0] is not None:
                self._take(taken[0])
        else:
            asyncio.get_running_loop().call_soon(self.process)
        self.flush()

    def flush(self) -> None:
        """Send what waits, see which hosts can be listened to, and interrupt the guest if it waits."""
        self._drain()
        for connection in list(self._connections.values()):
            connection.refresh()
        self._queues.notify()

    def forget(self, connection: Connection) -> None:
        """Drop a connection from the list."""
        if self._connections.get(connection.ports) is connection:
            del self._connections[connection.ports]

    def close(self) -> None:
        """End all connections, without a word to the guest."""
        for connection in list(self._connections.values()):
            connection.close()
        self._waiting.clear()

    def _drain(self) -> None:
        while self._waiting and not self.deaf and self._queues.room() >= 0:
            self._queues.put(self._waiting.popleft())

    def _take(self, packet: Packet) -> None:
        if packet.source_cid != self.guest_cid or packet.target_cid != HOST:
            return
        connection = self._connections.get((packet.target_port, packet.source_port))
        if packet.kind == STREAM and connection is not None:
            connection.take(packet)
        elif packet.kind == STREAM and packet.operation == Operation.REQUEST:
            self._accept(packet)
        elif packet.operation != Operation.RST:
            self.send(packet.reset())

    def _accept(self, packet: Packet) -> None:
        host = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        host.setblocking(False)
        try:
            if len(self._connections) >= _MAX_CONNECTIONS:
                raise ConnectionRefusedError("too many connections")
            host.connect(f"{self._uds_path}_{packet.target_port}")
        except OSError as error:
            _log.debug("port %s: %s", packet.target_port, error, extra={"action": "peer.vsock.refused"})
            host.close()
            self.send(packet.reset())
            return
        connection = Connection(self, host, packet.target_port, packet.source_port, None)
        self._connections[connection.ports] = connection
        connection.learn(packet)
        self.send(connection.say(Operation.RESPONSE))

    def _free_port(self) -> int:
        taken = {port for port, _ in self._connections}
        while self._next_port in taken:
            self._next_port = self._after(self._next_port)
        port = self._next_port
        self._next_port = self._after(port)
        return port

    @staticmethod
    def _after(port: int) -> int:
        return FIRST_PORT if port + 1 >= 1 << 31 else port + 1

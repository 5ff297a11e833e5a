"""One stream between a host's Unix socket and a port in the guest, with the credit of both sides."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from typing import TYPE_CHECKING

from .packet import DONE_RECEIVING, DONE_SENDING, HOST, STREAM, Operation, Packet

if TYPE_CHECKING:
    from .multiplexer import Multiplexer

BUFFER_SIZE = 64 * 1024
"""Bytes from the guest that are kept for a host who does not read; as in Firecracker."""
SHUTDOWN_S = 2.0
"""How long a guest may take to agree that a connection is over; as in Firecracker."""
_BURST = 16
_WRAP = 1 << 32


class Connection:
    """A connection that exists for both sides, or that the guest was asked for.

    Args:
        device: What it belongs to.
        host: The host's end; closed with the connection.
        host_port: The port on the host's side.
        guest_port: The port on the guest's.
        greeting: What the host is told once the guest has accepted; None when it was the guest who asked.
    """

    def __init__(
        self,
        device: Multiplexer,
        host: socket.socket,
        host_port: int,
        guest_port: int,
        greeting: bytes | None,
    ) -> None:
        host.setblocking(False)
        self.ports = (host_port, guest_port)
        self._device = device
        self._host = host
        self._greeting = greeting or b""
        self._open = greeting is None
        self._closed = False
        self._deadline: asyncio.TimerHandle | None = None
        self._reading = self._writing = False
        self._host_done = False
        self._guest_flags = 0
        self._guest_gone = False
        self._unwritten = bytearray()
        self._forwarded = self._told = 0
        self._sent = self._guest_forwarded = self._guest_buffer = 0
        self._asked_for_credit = False

    @property
    def credit(self) -> int:
        """How many bytes the guest takes now."""
        return self._guest_buffer - (self._sent - self._guest_forwarded) % _WRAP

    def say(self, operation: Operation, flags: int = 0, data: bytes = b"") -> Packet:
        """Return a packet to the guest with this side's credit in it."""
        self._told = self._forwarded
        host_port, guest_port = self.ports
        cid = self._device.guest_cid
        return Packet(
            HOST,
            cid,
            host_port,
            guest_port,
            STREAM,
            operation,
            flags,
            BUFFER_SIZE,
            self._forwarded % _WRAP,
            data,
        )

    def expire(self, timeout_s: float) -> None:
        """Reset the connection if it has not changed for the better within `timeout_s` seconds."""
        self._relax()
        self._deadline = asyncio.get_running_loop().call_later(timeout_s, self._expired)

    def _expired(self) -> None:
        self.reset()
        self._device.flush()

    def learn(self, packet: Packet) -> None:
        """Note how much the guest takes, which every packet says."""
        self._guest_buffer, self._guest_forwarded = packet.buffer_size, packet.forwarded
        if self.credit > 0:
            self._asked_for_credit = False

    def take(self, packet: Packet) -> None:
        """Act on what the guest sent for this connection."""
        self.learn(packet)
        match packet.operation:
            case Operation.RESPONSE if not self._open:
                self._begin()
            case Operation.RW if self._open and not self._guest_flags & DONE_SENDING:
                self._from_guest(packet.data)
            case Operation.SHUTDOWN if self._open:
                self._guest_flags |= packet.flags & (DONE_SENDING | DONE_RECEIVING)
                self._write()
            case Operation.CREDIT_REQUEST if self._open:
                self._device.send(self.say(Operation.CREDIT_UPDATE))
            case Operation.CREDIT_UPDATE if self._open:
                pass
            case Operation.RST:
                self._guest_flags = DONE_SENDING | DONE_RECEIVING
                self._guest_gone = True
                self._write()
            case _:
                self.reset()

    def reset(self) -> None:
        """End the connection at once on both sides."""
        if not self._closed and not self._guest_gone:
            self._device.send(self.say(Operation.RST))
        self.close()

    def close(self) -> None:
        """End the connection on the host's side."""
        if self._closed:
            return
        self._closed = True
        self._relax()
        self._watch(reading=False, writing=False)
        self._device.forget(self)
        self._host.close()

    def refresh(self) -> None:
        """Listen to the host if, and only if, what it says can be passed on now."""
        if self._closed:
            return
        wanted = (
            self._open
            and not self._host_done
            and not self._guest_flags & DONE_RECEIVING
            and self._device.room() > 0
        )
        if wanted and self.credit <= 0 and not self._asked_for_credit:
            self._asked_for_credit = True
            self._device.send(self.say(Operation.CREDIT_REQUEST))
        self._watch(reading=wanted and self.credit > 0, writing=bool(self._unwritten))

    def _begin(self) -> None:
        self._open = True
        self._relax()
        try:
            self._host.send(self._greeting)
        except OSError:
            self.reset()
        self.refresh()

    def _from_guest(self, data: bytes) -> None:
        if len(self._unwritten) + len(data) > BUFFER_SIZE:
            self.reset()
            return
        self._unwritten += data
        self._write()

    def _write(self) -> None:
        """Pass on what the host takes, and end what is over."""
        try:
            while self._unwritten:
                count = self._host.send(self._unwritten)
                del self._unwritten[:count]
                self._forwarded += count
        except BlockingIOError:
            pass
        except OSError:
            self.reset()
            return
        if not self._unwritten and self._guest_flags & DONE_SENDING:
            self._end_of_guest()
        elif self._open and self._forwarded - self._told >= BUFFER_SIZE // 2:
            self._device.send(self.say(Operation.CREDIT_UPDATE))
        self.refresh()

    def _end_of_guest(self) -> None:
        # A guest that closed waits for a reset.
        if self._guest_flags & DONE_RECEIVING or self._host_done:
            self.reset()
            return
        with contextlib.suppress(OSError):
            self._host.shutdown(socket.SHUT_WR)

    def _read(self) -> None:
        """Pass on what the host says, as far as there is room and credit.

        What is not taken stays in the socket.
        """
        for _ in range(_BURST):
            size = min(self.credit, self._device.room())
            if self._closed or size <= 0:
                break
            try:
                data = self._host.recv(size)
            except BlockingIOError:
                break
            except OSError:
                self.reset()
                break
            if not data:
                self._end_of_host()
                break
            self._sent = (self._sent + len(data)) % _WRAP
            self._device.send(self.say(Operation.RW, data=data))
        self._device.flush()

    def _end_of_host(self) -> None:
        """Tell the guest that no more comes, nor is taken where the host closed altogether."""
        self._host_done = True
        if _hung_up(self._host):
            self._device.send(self.say(Operation.SHUTDOWN, DONE_SENDING | DONE_RECEIVING))
            self.expire(SHUTDOWN_S)
        elif self._guest_flags & DONE_SENDING:
            self.reset()
        else:
            self._device.send(self.say(Operation.SHUTDOWN, DONE_SENDING))
        self.refresh()

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _watch(self, *, reading: bool, writing: bool) -> None:
        loop = asyncio.get_running_loop()
        if reading != self._reading:
            self._reading = reading
            _ = loop.add_reader(self._host, self._read) if reading else loop.remove_reader(self._host)
        if writing != self._writing:
            self._writing = writing
            _ = loop.add_writer(self._host, self._written) if writing else loop.remove_writer(self._host)

    def _written(self) -> None:
        self._write()
        self._device.flush()


def _hung_up(end: socket.socket) -> bool:
    poll = select.poll()
    poll.register(end, select.POLLIN)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))

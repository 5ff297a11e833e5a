"""Places for machines: a slot, a name, a folder, and an entry in the book, each given back at the end."""

from __future__ import annotations

import itertools
import logging
import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from emberbox.errors import EmberboxError, GuestError
from emberbox.sandbox.machines.capacity import committed_mib
from emberbox.sandbox.machines.console import ConsoleFollower
from emberbox.tasks import UndoStack
from emberbox.vmm.process.removal import remove_tree
from emberbox.vmm.registry import rates_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.config import Settings
    from emberbox.sandbox.machines.book import MachineBook, Place
    from emberbox.sandbox.machines.plan import MachinePlan
    from emberbox.sandbox.machines.runfolder import RunFolder
    from emberbox.sandbox.machines.slots import Slots

_log = logging.getLogger(__name__)


class Places:
    """The places of one engine.

    Args:
        folder: Where machines keep their sockets and logs.
        slots: The numbers of live machines.
        settings: How long is waited for a slot, and what machines may read and write.
        book: Where machines are entered.
    """

    def __init__(self, folder: RunFolder, slots: Slots, settings: Settings, book: MachineBook) -> None:
        self._slots = slots
        self._folder = folder
        self._rates = rates_of(settings.vmm)
        self._wait_s = settings.capacity.queue_timeout_s
        self._book = book
        self._name = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    async def take(self, plan: MachinePlan, source: str) -> Place:
        """Take a place, once a slot is free.

        Args:
            plan: The machine.
            source: What the book says of where it came from.

        Raises:
            CapacityExhausted, NoSpace, InvalidInput: With nothing left behind; the last where a
                machine of this size never fits.
        """
        undo = UndoStack()
        async with undone_if_failed(undo):
            slot = await self._slots.take(committed_mib(plan.size.memory_mib), self._wait_s)
            undo.push_call(self._slots.give_back, slot)
            name = f"{self._name}-{next(self._numbers)}"
            folder = self._folder.make(name)
            undo.push_call(remove_tree, folder)
            # A clone's kernel is its template's, which was told to be quiet.
            talkative = source == "cold" and plan.console is not None
            spec = plan.spec(name, folder, self._rates, talkative=talkative)
            place = self._book.enter(spec, undo, runtime=plan.image.runtime, source=source)
            # It is struck off behind its end, and ahead of the end of its folder.
            undo.push(place.leave)
            if plan.console is not None:
                undo.push(ConsoleFollower(spec.console_log, plan.console).close)
        return place

    async def take_now(self, plan: MachinePlan, source: str) -> Place | None:
        """Take a place if there is room for it that nobody waits for; else None. Raises `NoSpace`."""
        fits = self._slots.fits(committed_mib(plan.size.memory_mib))
        return await self.take(plan, source) if fits else None


@asynccontextmanager
async def undone_if_failed(undo: UndoStack, place: Place | None = None) -> AsyncIterator[None]:
    """Undo all if what is done meanwhile fails, the reason in the book where there is a place already."""
    try:
        yield
    except BaseException as error:
        if place is not None:
            place.blame(error)
        if isinstance(error, GuestError):
            _log.warning("a machine did not come up: %s", error, extra={"action": "machine.failed"})
        elif isinstance(error, EmberboxError):
            _log.info("a machine was not made: %s", error, extra={"action": "machine.failed"})
        await undo.close()
        raise

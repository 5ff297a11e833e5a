"""What becomes of a start, a clone or a freeze that fails: it is undone, and told with the machine's name."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from emberbox.errors import SnapshotFailed, VmmError
from emberbox.files.paths import without_folders
from emberbox.tasks import undone_on_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from emberbox.vmm.base import Machine, MachineSpec


@contextmanager
def told_as(
    failure: type[VmmError],
    spec: MachineSpec,
    what: str,
    *,
    also: tuple[type[VmmError], ...] = (),
    said: Callable[[], str] = str,
) -> Iterator[None]:
    """Turn what goes wrong inside, with the VMM or the host, into `failure`.

    Args:
        failure: Its class; what is of it already passes as it is.
        spec: The machine.
        what: What came of it, such as `did not start`.
        also: Classes of what passes as well.
        said: Returns the VMM's own words, whose last line is told instead of the error; empty for none.
    """
    try:
        yield
    except (failure, *also):
        raise
    except (VmmError, OSError) as error:
        words = said()
        reason = words.splitlines()[-1] if words else str(error) or type(error).__name__
        told = f"virtual machine {spec.id} {what}: {without_folders(reason)}"
        raise failure(told, detail=words or str(error)) from error


@asynccontextmanager
async def freezing(machine: Machine, discard: Callable[[], object]) -> AsyncIterator[None]:
    """Tell what goes wrong inside as `SnapshotFailed`, and leave nothing of it.

    Args:
        machine: Killed when what is inside fails or is cancelled.
        discard: Removes what was written, after that. May block.
    """

    async def give_up() -> None:
        try:
            await machine.kill()
        finally:
            await asyncio.to_thread(discard)

    async with undone_on_failure(give_up):
        with told_as(SnapshotFailed, machine.spec, "cannot be frozen"):
            yield

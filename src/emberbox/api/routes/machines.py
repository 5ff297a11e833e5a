"""Machines: which live, which ended badly, and what was said in and about them.

For who operates the service.
"""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from emberbox.api.auth import Manager
from emberbox.api.parts import MachinesPart
from emberbox.api.requests import TEXT, Responses
from emberbox.api.views import answer, shown
from emberbox.sandbox.machines.kept import MachineEntry
from emberbox.schemas.machines import Machine, MachineList

router = APIRouter(tags=["machines"])

MachineId = Annotated[
    str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="The machine's id.", examples=["1f6fe15e-1"])
]
Tail = Annotated[
    int | None, Query(ge=0, le=1 << 31, description="The last so many lines; all that there is if not given.")
]
_TEXT: Responses = {
    200: {
        "description": "Text; what is not printable is written out.",
        "content": {"text/plain": TEXT},
    }
}


@router.get("/v1/machines", response_model=MachineList, summary="List machines")
async def list_machines(_: Manager, machines: MachinesPart) -> Response:
    """Return this node's machines that live, and the latest that ended badly (`vmm.kept_machines`)."""
    return answer(MachineList(items=[_view(entry) for entry in await machines.entries()]))


@router.get("/v1/machines/{machine_id}", response_model=Machine, summary="Look at a machine")
async def get_machine(_: Manager, machines: MachinesPart, machine_id: MachineId) -> Response:
    """Return one machine."""
    return answer(_view(await machines.get(machine_id)))


@router.get(
    "/v1/machines/{machine_id}/console",
    response_class=Response,
    responses=_TEXT,
    summary="Read a machine's console",
)
async def get_machine_console(
    _: Manager, machines: MachinesPart, machine_id: MachineId, tail: Tail = None
) -> Response:
    """Return the end of what the guest's kernel printed.

    That is 256 KiB of a machine that lives, and 64 KiB of one that ended badly.
    It is the guest's own text, and may hold what a program of any key made the kernel print.
    """
    return _text(await machines.console(machine_id), tail)


@router.get(
    "/v1/machines/{machine_id}/log", response_class=Response, responses=_TEXT, summary="Read a VMM's log"
)
async def get_machine_log(
    _: Manager, machines: MachinesPart, machine_id: MachineId, tail: Tail = None
) -> Response:
    """Return what the machine's VMM logged, the last 64 KiB of it. `vmm.log_level` says how much that is."""
    return _text(await machines.vmm_log(machine_id), tail)


def _view(entry: MachineEntry) -> Machine:
    # An engine tells times in seconds.
    ended_at = None if entry.ended_at is None else datetime.fromtimestamp(entry.ended_at, UTC)
    return shown(Machine, entry, started_at=datetime.fromtimestamp(entry.started_at, UTC), ended_at=ended_at)


def _text(text: str, tail: int | None) -> Response:
    if tail is not None:
        lines = text.splitlines(keepends=True)
        text = "".join(lines[max(0, len(lines) - tail) :])
    return Response(text, media_type="text/plain")

"""`emberbox machines`: which live on a server's node, which ended badly, and what was said in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from emberbox.cli.commands import group, option
from emberbox.cli.failures import printable
from emberbox.cli.remote.remote import Remote, command, identifier
from emberbox.cli.tables import moment, write_out

if TYPE_CHECKING:
    import typer

    from emberbox.schemas.machines import Machine

MachineId = Annotated[str, identifier("machine")]
Tail = Annotated[int | None, option("--tail -n", "Only the last so many lines.", "N", min=0)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "Look at the machines of a server; needs a key with the scopes operator and admin."
    group(app, "machines", text, list_, console, log)


@command()
async def list_(there: Remote) -> None:
    """List the machines that live, the newest first, and then those that ended badly."""
    columns = ("ID", "RUNTIME", "STATE", "FROM", "VM", "PID", "STARTED", "ENDED", "WHY")
    await there.print_list(await there.client.machines.list(), columns, _row, right=("PID",))


def _row(machine: Machine) -> tuple[str, ...]:
    return (
        machine.id,
        machine.runtime,
        machine.state,
        f"{machine.source}, {machine.driver}",
        f"{machine.vcpus} × {machine.memory_mib} MiB",
        "" if machine.pid is None else str(machine.pid),
        moment(machine.started_at),
        "" if machine.ended_at is None else moment(machine.ended_at),
        machine.reason or "",
    )


@command(json=None)
async def console(there: Remote, machine_id: MachineId, tail: Tail = None) -> None:
    """Print what a machine's guest printed to its console, alive or dead."""
    _write(await there.client.machines.console(machine_id, tail=tail))


@command(json=None)
async def log(there: Remote, machine_id: MachineId, tail: Tail = None) -> None:
    """Print what a machine's VMM logged, alive or dead; vmm.log_level says how much that is."""
    _write(await there.client.machines.log(machine_id, tail=tail))


def _write(text: str) -> None:
    """Print text of a server, which may have been written by a guest, and a line's end behind it."""
    if text:
        write_out(printable(text) if text.endswith("\n") else f"{printable(text)}\n")

# Written by scripts/sync_client.py from _async/machines.py; change that instead.
"""Machines, for those with the scopes `operator` and `admin`."""

from __future__ import annotations

from emberbox.client._sync.transport import Part
from emberbox.client.paths import path_of
from emberbox.schemas.machines import Machine, MachineList


class Machines(Part):
    """The machines of the server's node: `client.machines`."""

    def list(self) -> list[Machine]:
        """Return the machines that live, the newest first, then those that ended badly, the latest first."""
        return (self._transport.get(MachineList, "/v1/machines")).items

    def get(self, machine_id: str) -> Machine:
        """Return a machine. Raises `NotFound`."""
        return self._transport.get(Machine, path_of("machines", machine_id))

    def console(self, machine_id: str, *, tail: int | None = None) -> str:
        """Return the end of what the guest's kernel printed; what is not printable is written out.

        Raises `NotFound`.

        Args:
            machine_id: The machine.
            tail: The last so many lines; None for all that there is.
        """
        return self._text(machine_id, "console", tail)

    def log(self, machine_id: str, *, tail: int | None = None) -> str:
        """Return the end of what the machine's VMM logged. Raises `NotFound`.

        Args:
            machine_id: The machine.
            tail: The last so many lines; None for all that there is.
        """
        return self._text(machine_id, "log", tail)

    def _text(self, machine_id: str, what: str, tail: int | None) -> str:
        path = path_of("machines", machine_id, what)
        return (self._transport.request("GET", path, query={"tail": tail})).text

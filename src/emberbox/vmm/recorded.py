"""Machines' specs as JSON, so that a later process finds its machines again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput
from emberbox.files.atomic import write_file
from emberbox.vmm.base import Drive, MachineSpec, NetworkAttachment, Rates

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORD = "machine.json"
"""File in the run folder from which a later process finds the VMM again."""


def spec_to_json(spec: MachineSpec) -> dict[str, Any]:
    """Return JSON-ready values from which `spec_from_json` makes the spec again."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(spec), default=str))
    return values


def spec_from_json(values: Mapping[str, Any]) -> MachineSpec:
    """Return the spec that `spec_to_json` wrote. Raises `InvalidInput`, `KeyError` or `TypeError`."""
    known = dict(values)
    network = known.get("network")
    if network is not None:
        netns = network.get("netns")
        known["network"] = NetworkAttachment(
            tap=network["tap"], mac=network["mac"], netns=None if netns is None else Path(netns)
        )
    known["drives"] = tuple(
        Drive(path=Path(d["path"]), read_only=bool(d["read_only"])) for d in known["drives"]
    )
    known["kernel_args"] = tuple(known["kernel_args"])
    known["rates"] = Rates(**known.get("rates", {}))
    for name in ("run_dir", "kernel", "initramfs"):
        known[name] = Path(known[name])
    return MachineSpec(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedMachine:
    """What a machine's state tells of it.

    Args:
        spec: What it was made from.
        pid: Host pid of its VMM.
        start_time: As `process.start_time` tells it.
        memory: The file of its memory, if it is a template; None otherwise.
        restored: Whether it is a clone, as far as its driver tells.
    """

    spec: MachineSpec
    pid: int
    start_time: int
    memory: Path | None
    restored: bool


def machine_from_json(driver: str, state: Mapping[str, Any]) -> RecordedMachine:
    """Return what `Machine.state` told. Raises `InvalidInput` for no state of a machine of that driver."""
    try:
        if state["driver"] != driver:
            raise ValueError(f"a machine of {state['driver']}")
        return RecordedMachine(
            spec=spec_from_json(state["spec"]),
            pid=int(state["pid"]),
            start_time=int(state["start_time"]),
            memory=None if state.get("memory") is None else Path(state["memory"]),
            restored=bool(state.get("restored")),
        )
    except (KeyError, TypeError, ValueError) as error:
        message = f"this is not the state of a machine of the driver {driver}"
        raise InvalidInput(message, detail=str(error)) from error


def write_record(run_dir: Path, state: Mapping[str, Any]) -> None:
    """Write a machine's state to its run folder, whole or not at all. Raises `OSError`."""
    write_file(run_dir / RECORD, json.dumps(state))

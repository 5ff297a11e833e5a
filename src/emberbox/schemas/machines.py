"""Machines, for who operates the service."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  Pydantic looks at it when it runs
from typing import Literal

from pydantic import Field

from emberbox.schemas.base import Answer


class Machine(Answer):
    """A machine that lives on this node, or one that ended badly.

    `reason` says why, and is null while nothing is wrong.
    """

    id: str
    runtime: str
    driver: str
    source: Literal["clone", "cold", "template"] = Field(
        description="Cloned, booted cold, or booted to become a template."
    )
    vcpus: int
    memory_mib: int
    state: Literal["starting", "running", "paused", "exited", "killed"]
    started_at: datetime
    pid: int | None = Field(
        default=None, description="Process of the VMM on the node; null once it has ended."
    )
    ended_at: datetime | None = None
    reason: str | None = None


class MachineList(Answer):
    """All machines of this node: living ones, newest first, then those that ended badly, latest first."""

    items: list[Machine]

"""The service itself: whether it is well, what it runs on, and what it keeps ready."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  Pydantic looks at it when it runs
from typing import Literal

from pydantic import Field

from emberbox.bounds import MACHINES, MEMORY_MIB, VCPUS
from emberbox.schemas.base import Answer, Integer, Number, Request, optional

State = Literal["starting", "ready", "draining"]


class Health(Answer):
    """The process lives and answers."""

    status: Literal["ok"] = "ok"


class Readiness(Answer):
    """New work is taken. `checks` holds `ok` for each part that was looked at."""

    status: Literal["ready"] = "ready"
    checks: dict[str, str]


class Driver(Answer):
    """What the machines run on.

    `accelerator` is `kvm` or `tcg`; null means that nothing confines what runs.
    """

    accelerator: str | None
    version: str | None
    reason: str
    mend: str | None = Field(
        default=None, description="The one command that makes it faster, where there is one."
    )


class Capacity(Answer):
    """How much of this machine is used."""

    machines: int = Field(description="VMs that live: in use, ready in pools, being made or ended.")
    machines_limit: int | None = Field(
        default=None, description="Most VMs at once; null when it was left to the host's memory."
    )
    machines_memory_bytes: int = Field(
        default=0, description="Memory that the VMs that live may come to use."
    )
    machines_memory_limit_bytes: int = Field(default=0, description="Most of that; who needs more waits.")
    processors: int
    load_1m: float
    memory_total_bytes: int
    memory_available_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    service_memory_bytes: int = Field(description="Resident memory of the service itself, without its VMs.")


class Worker(Answer):
    """A worker that takes jobs. Several nodes may share a database."""

    id: str
    node: str
    concurrency: int
    started_at: datetime
    seen_at: datetime
    running: int
    here: bool = Field(description="Whether it is this process's own.")


class Queue(Answer):
    """The queue, over all teams."""

    queued: int
    running: int
    age_s: float = Field(description="How long the oldest job that could start has waited; 0 without one.")


class Node(Answer):
    """The state of this service."""

    version: str
    state: State
    started_at: datetime
    uptime_s: float
    database: Literal["sqlite", "postgresql"]
    driver: Driver
    capacity: Capacity
    queue: Queue
    workers: list[Worker]
    runtimes: list[str]


class Pool(Answer):
    """Ready VMs of one template.

    `claims` counts what was asked for, `misses` what had to be cloned on demand.
    """

    runtime: str
    template: str
    memory_mib: int
    vcpus: int
    ready: int
    target: int
    claims: int
    misses: int
    failures: int
    standby: int = Field(
        default=0, description="VMMs started ahead of time for its clones, without a guest yet."
    )


class Pools(Answer):
    """All pools of this node."""

    items: list[Pool]
    maximum: int = Field(
        description="Most VMs that a pool keeps ready (`pool.maximum`); 0 means that pools are off."
    )


class PoolOrder(Request):
    """How many VMs of a runtime are kept ready. 0 leaves it to demand."""

    ready: Integer = Field(ge=0, le=MACHINES)
    memory_mib: Integer | None = optional(MEMORY_MIB, "Size, rounded up; the runtime's default if null.")
    vcpus: Integer | None = optional(VCPUS)
    wait_s: Number = Field(default=0, ge=0, le=300, description="Wait this long for them to be ready.")


class PoolChanged(Answer):
    """What was ordered. `filled` says whether they were ready when the wait ended."""

    runtime: str
    ready: int
    filled: bool

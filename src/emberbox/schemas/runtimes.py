"""Runtimes, as they cross the wire."""

from __future__ import annotations

from emberbox.schemas.base import Answer


class RuntimeLimits(Answer):
    """What a run may use when it does not say otherwise. `disk_mib` null keeps what is written in memory."""

    timeout_s: float
    memory_mib: int
    vcpus: int
    disk_mib: int | None = None
    pids: int


class RuntimeInfo(Answer):
    """A language that can be run.

    `built` says whether its image is there, `template` whether a snapshot of it is; without them
    the first run takes longer. Null where there are none, since nothing runs in VMs.
    """

    name: str
    version: str
    description: str
    aliases: list[str]
    extensions: list[str]
    main: list[str]
    compiled: bool
    waiting: bool
    limits: RuntimeLimits
    built: bool | None = None
    template: bool | None = None

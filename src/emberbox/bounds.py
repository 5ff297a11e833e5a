"""What a program and its VM may be given at all: the one place that tells it.

The API's schema, the engine, manifests, settings, the command line and the documentation take
their numbers from here. An operator's settings (`jobs.*`) may allow less, never more.
"""

from __future__ import annotations

from dataclasses import dataclass

from emberbox.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Range:
    """The values that something may have.

    Args:
        least: The smallest.
        most: The largest.
        above: Whether values must be above `least`, which is none of them then.
    """

    least: int
    most: int
    above: bool = False

    def __contains__(self, value: float) -> bool:
        """Tell whether a value may be."""
        return (self.least < value if self.above else self.least <= value) and value <= self.most

    def __str__(self) -> str:
        """Return the range for people, as in `96 to 65,536`."""
        return f"{'above ' if self.above else ''}{self.least:,} to {self.most:,}"

    def check(self, name: str, value: float | None) -> None:
        """Raise `InvalidInput` for a value that may not be; None is no value.

        Args:
            name: What it is called, with its unit.
            value: The value.
        """
        if value is not None and value not in self:
            raise InvalidInput(f"{name} must be {self}, not {value:,}")


MEMORY_MIB = Range(96, 65_536)
"""Memory of a VM that runs programs: below, a guest has no room for its agent and a program."""
MACHINE_MIB = Range(64, 65_536)
"""Memory of a machine for a driver, which need not run anything, as in a trial."""
VCPUS = Range(1, 32)
DISK_MIB = Range(1, MEMORY_MIB.most)
"""What may be written; it lies in the VM's memory, so that this bounds it as well."""
TIMEOUT_S = Range(0, 86_400, above=True)
CPU_S = Range(0, 86_400, above=True)
PIDS = Range(1, 32_768)
"""A guest's kernel gives no more numbers to processes."""
OUTPUT_BYTES = Range(1, 1 << 40)
RETRIES = Range(0, 100)
MACHINES = 100
"""Live machines of one engine at once."""
UID_BASE = 790_000
"""First of the uids (and gids) that belong to VMMs, unless `vmm.uid_base` says another. Above the ranges
of people, services and the first subuids by default."""
UID_COUNT = 100_000
"""How many there are. The first one is no machine's: what looks at the host runs as it."""
GRACE_S = Range(0, 7 * 86_400)
"""How long the secret until now of an API key may stay good."""
WORDS_BYTES = 80 * 1024
"""Arguments and variables of a program together, written as JSON.

They travel in one request to the agent: arguments twice, beside a script of 64 KiB."""

OPTIONS = {
    "timeout_s": TIMEOUT_S,
    "cpu_s": CPU_S,
    "memory_mib": MEMORY_MIB,
    "vcpus": VCPUS,
    "disk_mib": DISK_MIB,
    "pids": PIDS,
    "output_bytes": OUTPUT_BYTES,
}
"""The ranges of `RunOptions`, by their fields."""

_POWERS = tuple(2**power for power in range(17))
MEMORY_STEPS_MIB = tuple(
    sorted(size for power in _POWERS for size in (power, power * 3 // 2) if size in MEMORY_MIB)
)
"""Sizes of VMs: the powers of two and what lies half-way, 96, 128, 192, 256, 384 and so on.

Each size that is asked for costs a template, so there are few."""
VCPUS_STEPS = tuple(power for power in _POWERS if power in VCPUS)
"""Numbers of virtual CPUs: 1, 2, 4, 8, 16 and 32."""


def step_up(wanted: int, steps: tuple[int, ...], own: int) -> int:
    """Return the smallest size that is not below `wanted`: a step, or a runtime's `own` size."""
    return min(size for size in (*steps, own) if size >= wanted)

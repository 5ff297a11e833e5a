"""Measures what one tenant's attack costs another, against what that one has alone."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.attack.two_tenants import ON_HOST, Tenant, running_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

MOST = 2.0
"""What is promised: how many times longer an attack may make a wait."""
ALLOWANCE_S = 0.5
"""Added to that: what a busy machine makes of a wait that is short."""
GIVEN_UP, GIVEN_UP_S = 4.0, 10.0
"""A load is given up when it takes so many times as long as alone, and so many seconds."""
_LOOKS = 300
"""An attack that is not answered at so many looks, 50 ms apart, is in force all the same."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a tenant waited for each of its things, in seconds."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """The wait in the middle."""
        return statistics.median(self.seconds)

    @property
    def worst(self) -> float:
        """The longest wait."""
        return max(self.seconds)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way of attacking did.

    Args:
        way: Its name.
        alone: The waits with half the workers, and nobody else there.
        attacked: The waits for the same load under attack.
        answers: What the attacker was answered: how often each status.
        through: How much of what a share bounds the attacker got, as the way counts it.
    """

    way: str
    alone: Waits
    attacked: Waits
    answers: Counter[int] = field(default_factory=Counter)
    through: int = 0

    @property
    def factors(self) -> tuple[float, float]:
        """How many times longer the attack made the median and the worst wait."""
        return self.attacked.median / self.alone.median, self.attacked.worst / self.alone.worst

    @property
    def bearable(self) -> bool:
        """Whether the other's waits were at most twice as long, and the allowance."""
        pairs = ((self.alone.median, self.attacked.median), (self.alone.worst, self.attacked.worst))
        return all(attacked <= MOST * alone + ALLOWANCE_S for alone, attacked in pairs)

    def __str__(self) -> str:
        median, worst = self.factors
        answers = " ".join(f"{count}x{status}" for status, count in sorted(self.answers.items()))
        return (
            f"{self.way}: alone {self.alone.median:.2f} / {self.alone.worst:.2f} s; attacked "
            f"{self.attacked.median:.2f} / {self.attacked.worst:.2f} s; x {median:.2f} / {worst:.2f}; "
            f"through {self.through}; answers {answers}"
        )


@dataclass(frozen=True, slots=True)
class Arena:
    """Where attacks are measured.

    Args:
        folder: Gets the data of the services under attack.
        alone: Who works at a service of half as many workers, where nobody else is.
        program: How a service is started: `ON_HOST` or `ON_VMS`.
        settings: Of the services under attack, as environment variables.
        images: Where the images of VMs lie; None without VMs.
    """

    folder: Path
    alone: Tenant
    program: Sequence[str]
    settings: Mapping[str, str]
    images: Path | None

    async def compare(
        self,
        way: str,
        load: Callable[[Tenant], Awaitable[Sequence[float]]],
        attack: Callable[[Tenant], Coroutine[None, None, None]],
    ) -> Outcome:
        """Measure a load alone with half the workers, and then under attack.

        Args:
            way: The attack's name.
            load: Does the good tenant's work, and returns its waits in seconds.
            attack: Attacks until it is cancelled. It is in force a second after its first answer.
        """
        data = self.folder / way
        running = running_service(data, self.program, self.images, self.settings, attacked=True)
        async with running as (good, bad):
            begun = time.monotonic()
            alone = Waits(await load(self.alone))
            alone_s = time.monotonic() - begun
            attacking = asyncio.create_task(attack(bad), name=f"attack-{way}")
            try:
                await _in_force(bad, attacking)
                attacked = await _endured(load(good), GIVEN_UP * alone_s + GIVEN_UP_S)
                if attacking.done():
                    attacking.result()  # an attack that failed shows nothing
            finally:
                attacking.cancel()
                await asyncio.gather(attacking, return_exceptions=True)
        return Outcome(way, alone, attacked, bad.answers, bad.through)


@contextlib.asynccontextmanager
async def opened(
    folder: Path, program: Sequence[str] = ON_HOST, images: Path | None = None
) -> AsyncIterator[Arena]:
    """Run the service of who works alone; yields the arena of all that is measured beside it."""
    async with running_service(folder / "alone", program, images, attacked=False) as (good, _):
        yield Arena(folder, good, program, {}, images)


async def _endured(load: Awaitable[Sequence[float]], bound_s: float) -> Waits:
    """Return the waits of a load that is under attack; where it is given up, one that is as long as that."""
    try:
        async with asyncio.timeout(bound_s):
            return Waits(await load)
    except TimeoutError:
        return Waits([bound_s])


async def _in_force(bad: Tenant, attacking: asyncio.Task[None]) -> None:
    """Wait until the attack has been answered, unless it is not, and has had a moment to spread."""
    for _ in range(_LOOKS):
        if bad.answers or attacking.done():
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    if attacking.done():
        attacking.result()


async def timed(work: Awaitable[object]) -> float:
    """Return how long something took, in seconds."""
    begun = time.monotonic()
    await work
    return time.monotonic() - begun

"""What one check says."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from emberbox.errors import EmberboxError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Level = Literal["ok", "wrong", "skipped"]

REPORTED_BYTES = 300
"""How much of what a tool said goes into a check's line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of a report.

    Args:
        name: What was looked at.
        level: `ok`, `wrong`, or `skipped` where there was nothing to look at.
        found: What was found, in one line.
        mend: What to do about it; None when nothing is to be done.
    """

    name: str
    level: Level
    found: str
    mend: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self)


class Wrong(Exception):
    """A check found something wrong. Stays within the checks.

    Args:
        found: What.
        mend: What to do about it.
    """

    def __init__(self, found: str, mend: str) -> None:
        super().__init__(found)
        self.found = found
        self.mend = mend


class Skipped(Exception):
    """There is nothing to check; the text says why."""


async def verdict(name: str, work: Callable[[], Awaitable[str]], timeout_s: float) -> Check:
    """Do a check's work and return what it says; an error of the engine is wrong whatever was checked.

    Args:
        name: What is looked at.
        work: Returns what it found; raises `Wrong` or `Skipped`.
        timeout_s: Bound in seconds.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return Check(name=name, level="ok", found=await work())
    except Skipped as reason:
        return Check(name=name, level="skipped", found=str(reason))
    except Wrong as wrong:
        return Check(name=name, level="wrong", found=one_line(wrong.found), mend=wrong.mend)
    except EmberboxError as error:
        said = f"{type(error).__name__}: {error.message}" + (
            f" ({error.detail[-500:]})" if error.detail else ""
        )
        mend = "do what the message says; where it asks for nothing, report it"
        return Check(name=name, level="wrong", found=one_line(said, 900), mend=mend)
    except TimeoutError:
        return Check(
            name=name,
            level="wrong",
            found=f"not done within {timeout_s:.0f} s",
            mend="find out what hangs, or is slow",
        )


def one_line(text: str, limit: int = REPORTED_BYTES) -> str:
    """Return a text as one line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"

"""The two ways to wait: the asynchronous client's, and the same for the one that blocks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_P = ParamSpec("_P")


async def async_sleep(seconds: float) -> None:
    """Wait without blocking the loop."""
    await asyncio.sleep(seconds)


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


async def async_call(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run what blocks on a thread."""
    return await asyncio.to_thread(work, *args, **kwargs)


def call(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run what blocks."""
    return work(*args, **kwargs)

"""The two ways to wait: the asynchronous client's, and the same for the one that blocks."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_P = ParamSpec("_P")


async_sleep, sleep = asyncio.sleep, time.sleep
async_call = asyncio.to_thread
"""Runs what blocks on a thread."""


def call(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run what blocks, here."""
    return work(*args, **kwargs)

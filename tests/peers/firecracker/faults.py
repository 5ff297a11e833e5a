"""What the API answers when a request cannot be done."""

from __future__ import annotations

import os


class Fault(Exception):
    """An answer with a `fault_message`.

    Args:
        message: What went wrong.
        status: Of HTTP.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def spoken(error: OSError) -> str:
    """Return a system error as a Rust program words it."""
    number = error.errno or 0
    return f"{os.strerror(number)} (os error {number})"

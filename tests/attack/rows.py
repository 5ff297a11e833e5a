"""The rows: what is attacked, how, what is to hold, and which tests show it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

GROUPS = {
    "guests": "Hostile guests",
    "tenants": "Hostile tenants",
    "input": "Hostile input",
    "broken_hosts": "Broken hosts",
}
"""Modules of this folder, in the order of the page, and what stands over their rows there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One attack.

    Args:
        name: In a few words; no other row has it.
        tried: What is done.
        holds: What is to hold all the same.
        tests: The tests that try it, such as `e2e/test_hostile.py::test_cpu_time_has_a_limit`, below
            `tests/`. All of them have to pass. A name of a test stands for all its parameters; one
            that ends amid them, such as `…::test_confinement[confined`, for those that begin so.
        control: Tests that try the same where the defence is switched off, or at something that has
            none, and pass when the attack succeeds there: the row could fail. Empty where that cannot
            be had.
    """

    name: str
    tried: str
    holds: str
    tests: tuple[str, ...]
    control: tuple[str, ...] = ()


def rows_by_group() -> dict[str, tuple[Row, ...]]:
    """Return the rows of each group that there is, by the group's module.

    Raises:
        ValueError: Two rows have one name.
    """
    found: dict[str, tuple[Row, ...]] = {}
    for group in GROUPS:
        place = f"{__package__}.{group}"
        if find_spec(place) is not None:
            found[group] = tuple(import_module(place).ROWS)
    names = [row.name for rows in found.values() for row in rows]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two rows are called {twice!r}")
    return found


def matches(outcome: str, test: str) -> bool:
    """Tell whether a test that ran is one that a row names.

    Args:
        outcome: Its node id below `tests/`.
        test: As in `Row.tests`.
    """
    return outcome == test or outcome.startswith(test if "[" in test else f"{test}[")


def node_of(test: str) -> str:
    """Return what pytest is called with for a test of a row."""
    return f"tests/{test.partition('[')[0]}"

"""The table of statuses names each error once."""

from __future__ import annotations

from emberbox import errors
from emberbox.api.statuses import _CODES, STATUSES
from emberbox.errors import EmberboxError


def _codes(root: type[EmberboxError] = EmberboxError) -> list[str]:
    children = [kind for kind in root.__subclasses__() if kind.__module__ == errors.__name__]
    return [root.code, *(code for child in children for code in _codes(child))]


def test_each_error_stands_in_the_table_once() -> None:
    listed = [code for codes in _CODES.values() for code in codes]
    assert sorted(listed) == sorted(_codes())


def test_each_status_is_one_of_a_failure() -> None:
    assert all(400 <= status < 600 for status in STATUSES.values())

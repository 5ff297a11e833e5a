"""Whose a row is: all that is stored belongs to a team, and its keys share it.

The operator may also look at what other teams have, end it and delete it. Running it, or changing
it, stays with the team's own keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlalchemy import ColumnElement, Table, true

from emberbox.errors import InvalidInput, NotAllowed
from emberbox.ids import is_id

if TYPE_CHECKING:
    from emberbox.store.records import KeyRecord

EVERY_TEAM = "all"
"""In place of a team's id: those of all teams."""


class Owned(Protocol):
    """What belongs to a team."""

    @property
    def team_id(self) -> str:
        """Whose it is."""


def is_operator(key: KeyRecord) -> bool:
    """Return whether a key's holder operates the installation."""
    return "operator" in key.scopes


def reaches(key: KeyRecord, record: Owned) -> bool:
    """Return whether a key may look at something, end it and delete it."""
    return record.team_id == key.team_id or is_operator(key)


def within_reach(key: KeyRecord, table: Table) -> ColumnElement[bool]:
    """Return the condition that a key reaches a row; see `reaches`."""
    return true() if is_operator(key) else table.c.team_id == key.team_id


def check_own(key: KeyRecord, record: Owned) -> None:
    """Check that something belongs to the key's own team. Raises `NotAllowed`."""
    if record.team_id != key.team_id:
        raise NotAllowed(
            "this belongs to another team: an operator may look at it, end it and delete it; "
            "to run or change it, use a key of that team"
        )


def team_of_list(key: KeyRecord, team: str | None) -> str | None:
    """Return whose rows a list shows.

    Args:
        key: The caller's.
        team: A team's id, `EVERY_TEAM`, or None for the key's own team.

    Returns:
        The team's id; None for those of all teams.

    Raises:
        NotAllowed: The key is not the operator's, and it is another team.
        InvalidInput: It is no team's id.
    """
    if team is None or team == key.team_id:
        return key.team_id
    if not is_operator(key):
        raise NotAllowed("this key sees its own team alone; other teams need a key with the scope 'operator'")
    if team == EVERY_TEAM:
        return None
    if not is_id(team, "team"):
        raise InvalidInput(f"team: must be a team's id, or {EVERY_TEAM!r}")
    return team


def listed(key: KeyRecord, table: Table, team: str | None) -> ColumnElement[bool]:
    """Return the condition that a list shows a row; raises as `team_of_list` does."""
    wanted = team_of_list(key, team)
    return true() if wanted is None else table.c.team_id == wanted

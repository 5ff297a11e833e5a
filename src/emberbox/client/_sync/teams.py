# Written by scripts/sync_client.py from _async/teams.py; change that instead.
"""Teams, for those with the scope `operator`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emberbox.client._sync.transport import Part
from emberbox.client.paths import path_of
from emberbox.schemas.keys import Team

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Teams(Part):
    """All teams of the service: `client.teams`. Making and changing them needs the scope `admin` as well."""

    def create(self, name: str, *, quota: Mapping[str, float] | None = None) -> Team:
        """Make a team; its first key is made by `keys.create` with its id.

        Args:
            name: Lower-case letters, digits and hyphens, up to 63; its own.
            quota: What differs from the settings; see `Quota`.

        Raises:
            Conflict: Another team has the name.
        """
        return self._transport.post(Team, "/v1/teams", {"name": name, "quota": dict(quota or {})})

    def list(self, *, limit: int | None = None) -> Iterator[Team]:
        """Yield teams, newest first."""
        return self._transport.pages(Team, "/v1/teams", limit=limit)

    def get(self, team_id: str) -> Team:
        """Return a team; every key may look at its own. Raises `NotFound`."""
        return self._transport.get(Team, path_of("teams", team_id))

    def update(
        self, team_id: str, *, name: str | None = None, quota: Mapping[str, float] | None = None
    ) -> Team:
        """Change what is not None; `quota` replaces the whole quota. Raises `NotFound`, `Conflict`."""
        body: dict[str, Any] = {"name": name, "quota": None if quota is None else dict(quota)}
        wanted = {name: value for name, value in body.items() if value is not None}
        return self._transport.send(Team, "PATCH", path_of("teams", team_id), wanted)

# Written by scripts/sync_client.py from _async/keys.py; change that instead.
"""API keys, for those with the scope `admin`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emberbox.client._sync.transport import Part
from emberbox.client.paths import path_of
from emberbox.schemas.keys import Key, KeyWithSecret, Running, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime


class Keys(Part):
    """The keys of a team: `client.keys`."""

    def create(
        self,
        name: str,
        scopes: Sequence[Scope | str] = (Scope.RUN,),
        *,
        team: str | None = None,
        expires_at: datetime | None = None,
        quota: Mapping[str, float] | None = None,
    ) -> KeyWithSecret:
        """Make a key; its `secret` is shown this once. Not repeated when the answer is lost.

        Args:
            name: For people.
            scopes: See `Scope`.
            team: Id of another team, which needs the scope `operator`; None for this key's.
            expires_at: When it ends, with its time zone; None for never.
            quota: By what it is narrower than its team's; see `Quota`.
        """
        body: dict[str, Any] = {
            "name": name,
            "scopes": [str(scope) for scope in scopes],
            "quota": dict(quota or {}),
        }
        if team is not None:
            body["team_id"] = team
        if expires_at is not None:
            body["expires_at"] = expires_at.isoformat()
        return self._transport.post(KeyWithSecret, "/v1/keys", body)

    def list(self, *, team: str | None = None, limit: int | None = None) -> Iterator[Key]:
        """Yield keys, newest first, revoked ones as well. `team` as of `jobs.list`."""
        return self._transport.pages(Key, "/v1/keys", limit=limit, team=team)

    def get(self, key_id: str) -> Key:
        """Return a key, without its secret. Raises `NotFound`."""
        return self._transport.get(Key, path_of("keys", key_id))

    def update(self, key_id: str, **changes: object) -> Key:
        """Change `name`, `scopes`, `expires_at` (None for never) or `quota`; what is not named stays.

        Raises:
            NotFound: There is no such key.
            Conflict: It was revoked, or it is the last that manages teams and would not.
        """
        expires_at: Any = changes.get("expires_at")
        if expires_at is not None:
            changes["expires_at"] = expires_at.isoformat()
        return self._transport.send(Key, "PATCH", path_of("keys", key_id), changes)

    def rotate(self, key_id: str, *, grace_s: float = 0.0) -> KeyWithSecret:
        """Give a key another `secret`, which is shown this once.

        Args:
            key_id: The key.
            grace_s: Seconds for which the secret until now stays good.

        Raises:
            NotFound: There is no such key.
            Conflict: It was revoked.
        """
        return self._transport.post(KeyWithSecret, path_of("keys", key_id, "rotate"), {"grace_s": grace_s})

    def revoke(self, key_id: str, *, running: Running | str = Running.END) -> Key:
        """End a key for good, and cancel its jobs that wait; safe to repeat.

        Args:
            key_id: The key.
            running: `end` its running jobs, or `keep` them: they go on for their team.

        Raises:
            NotFound: There is no such key.
            Conflict: It is the last that manages teams.
        """
        query = {"running": str(running)}
        return self._transport.post(Key, path_of("keys", key_id, "revoke"), query=query)

    def suspend(self, key_id: str) -> Key:
        """Let a key do nothing until it is resumed; its jobs go on. Safe to repeat.

        Raises `NotFound`, or `Conflict` for one that was revoked or is the last that manages teams.
        """
        return self._transport.post(Key, path_of("keys", key_id, "suspend"))

    def resume(self, key_id: str) -> Key:
        """Let a suspended key be used again; safe to repeat.

        Raises `NotFound`, or `Conflict` for one that was revoked.
        """
        return self._transport.post(Key, path_of("keys", key_id, "resume"))

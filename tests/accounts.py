"""Keys as the service knows them, for tests of parts that are called with one."""

from __future__ import annotations

from emberbox.store.records import KeyRecord
from emberbox.store.tables import FIRST_TEAM


def key_record(
    *scopes: str,
    id: str = "key_0",
    team_id: str = FIRST_TEAM,
    name: str = "k",
    hint: str = "",
    quota: dict[str, float] | None = None,
    created_at: int = 0,
) -> KeyRecord:
    """Return a key that works; with `run` if no scopes are given."""
    return KeyRecord(
        id=id,
        team_id=team_id,
        team_quota={},
        name=name,
        hint=hint,
        scopes=frozenset(scopes or ("run", "read")),
        quota=quota or {},
        created_at=created_at,
        expires_at=None,
        last_used_at=None,
        suspended_at=None,
        revoked_at=None,
    )

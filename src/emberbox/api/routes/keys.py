"""API keys: made, looked at, changed and ended by keys of their team with the scope `admin`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from emberbox.api.auth import Admin, Reader
from emberbox.api.parts import KeysPart, RevocationsPart
from emberbox.api.requests import Limit, Responses, TeamFilter, cursor_of, identifier, location
from emberbox.api.views import answer, page, shown
from emberbox.errors import InvalidInput
from emberbox.schemas.base import Page
from emberbox.schemas.keys import CreateKey, Key, KeyWithSecret, RotateKey, Running, Scope, UpdateKey
from emberbox.service.ownership import team_of_list
from emberbox.store.records import KeyRecord

router = APIRouter(tags=["keys"])

KeyId = Annotated[str, identifier("key", "key")]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCATION = location("Where the key is found.")
_MADE: Responses = {
    201: {
        "model": KeyWithSecret,
        "description": "The key is there. Its secret is shown this once.",
        "headers": _LOCATION,
    }
}


@router.post(
    "/v1/keys", status_code=201, response_model=KeyWithSecret, responses=_MADE, summary="Create a key"
)
async def create_key(body: CreateKey, admin: Admin, keys: KeysPart) -> Response:
    """Make a key. The answer holds its secret, which is stored as a hash only: keep it now."""
    record, secret = await keys.create(
        body.name,
        body.scopes,
        team_id=body.team_id or admin.team_id,
        expires_at=_microseconds(body.expires_at),
        quota=body.quota.model_dump(exclude_none=True),
        by=admin,
    )
    return answer(_with_secret(record, secret), 201, {"Location": f"/v1/keys/{record.id}"})


@router.get("/v1/keys", response_model=Page[Key], summary="List keys")
async def list_keys(
    admin: Admin,
    keys: KeysPart,
    team: TeamFilter = None,
    cursor: Annotated[str | None, cursor_of("key")] = None,
    limit: Limit = 50,
) -> Response:
    """List the team's keys, newest first, revoked ones as well."""
    records, following = await keys.list(team_of_list(admin, team), cursor=cursor, limit=limit)
    return page(Page[Key], [_key(record) for record in records], following)


@router.get("/v1/me", response_model=Key, summary="Look at the key in use")
async def get_me(key: Reader) -> Response:
    """Return the key that this request is made with. `last_used_at` may lag behind."""
    return answer(_key(key))


@router.get("/v1/keys/{key_id}", response_model=Key, summary="Look at a key")
async def get_key(key_id: KeyId, admin: Admin, keys: KeysPart) -> Response:
    """Return one key, without its secret."""
    return answer(_key(await keys.get(key_id, by=admin)))


@router.patch("/v1/keys/{key_id}", response_model=Key, summary="Change a key")
async def update_key(key_id: KeyId, body: UpdateKey, admin: Admin, keys: KeysPart) -> Response:
    """Change the values that are given, from now on.

    The last key that manages teams keeps its scopes and gets no end.
    """
    return answer(_key(await keys.update(key_id, by=admin, **_changes(body))))


@router.post("/v1/keys/{key_id}/rotate", response_model=KeyWithSecret, summary="Rotate a key")
async def rotate_key(key_id: KeyId, admin: Admin, keys: KeysPart, body: RotateKey | None = None) -> Response:
    """Give a key another secret. The one until now ends at once, or after `grace_s`."""
    record, secret = await keys.rotate(key_id, (body or RotateKey()).grace_s, by=admin)
    return answer(_with_secret(record, secret))


@router.post("/v1/keys/{key_id}/revoke", response_model=Key, summary="Revoke a key")
async def revoke_key(
    key_id: KeyId,
    admin: Admin,
    revocations: RevocationsPart,
    running: Annotated[
        Running, Query(description="`end` its running jobs, or `keep` them: they go on for their team.")
    ] = Running.END,
) -> Response:
    """End a key for good, at once. Its jobs that wait are cancelled, and its open connections are closed.

    Connections to other processes of the service are closed within a second or so. What the key
    made stays its team's. The last key that manages teams cannot be revoked.
    """
    return answer(_key(await revocations.revoke(key_id, by=admin, keep_running=running is Running.KEEP)))


@router.post("/v1/keys/{key_id}/suspend", response_model=Key, summary="Suspend a key")
async def suspend_key(key_id: KeyId, admin: Admin, keys: KeysPart) -> Response:
    """Let a key do nothing until it is resumed: its holder is answered 403 `key_suspended`.

    Its open connections are closed as by a revocation. Its jobs go on, also those that wait.
    """
    return answer(_key(await keys.suspend(key_id, by=admin)))


@router.post("/v1/keys/{key_id}/resume", response_model=Key, summary="Resume a key")
async def resume_key(key_id: KeyId, admin: Admin, keys: KeysPart) -> Response:
    """Let a suspended key be used again."""
    return answer(_key(await keys.resume(key_id, by=admin)))


def _changes(body: UpdateKey) -> dict[str, Any]:
    changes = body.model_dump(exclude_none=True)
    if "expires_at" in body.model_fields_set:
        changes["expires_at"] = _microseconds(body.expires_at)
    return changes


def _microseconds(time: datetime | None) -> int | None:
    try:
        return None if time is None else (time - _EPOCH) // timedelta(microseconds=1)
    except OverflowError:
        raise InvalidInput("expires_at: there is no such time") from None


def _key(record: KeyRecord) -> Key:
    return shown(Key, record, scopes=_scopes(record))


def _with_secret(record: KeyRecord, secret: str) -> KeyWithSecret:
    return shown(KeyWithSecret, record, scopes=_scopes(record), secret=secret)


def _scopes(record: KeyRecord) -> list[Scope]:
    return [scope for scope in Scope if scope in record.scopes]

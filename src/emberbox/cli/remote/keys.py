"""`emberbox keys`: who may use a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from emberbox.cli.commands import argument, group, option
from emberbox.cli.failures import say
from emberbox.cli.remote.remote import LISTED, Limit, Remote, TeamFilter, command, identifier
from emberbox.cli.tables import moment
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    import typer

    from emberbox.schemas.keys import Key, KeyWithSecret

KeyId = Annotated[str, identifier("key")]
Days = Annotated[float | None, option("--days", "Let it end by itself after so many days.", "N")]
Quotas = Annotated[
    list[str] | None,
    option("--quota", "Such as concurrent_jobs=4; may be repeated.", "NAME=N"),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "Make, change, rotate, suspend and revoke the API keys of a team."
    group(app, "keys", text, create, list_, update, rotate, suspend, resume, revoke, me)


@command()
async def create(
    there: Remote,
    name: Annotated[str, argument("NAME", "For people.")],
    scopes: Annotated[
        list[str] | None, option("--scope", "read, run, admin or operator. [usual: run]", "SCOPE")
    ] = None,
    team: Annotated[
        str | None, option("--team", "Of another team; needs the scope operator.", "TEAM")
    ] = None,
    days: Days = None,
    quotas: Quotas = None,
) -> None:
    """Make a key. Its secret is shown this once."""
    made = await there.client.keys.create(
        name, scopes or ["run"], team=team, expires_at=_after(days), quota=quotas_of(quotas)
    )
    _print_secret(there, made)


def _after(days: float | None) -> datetime | None:
    return None if days is None else datetime.now(UTC) + timedelta(days=days)


def quotas_of(given: list[str] | None) -> dict[str, float]:
    """Return quotas by name. Raises `InvalidInput` for one that cannot be."""
    return dict(_quota(text) for text in given or ())


def _quota(text: str) -> tuple[str, float]:
    from emberbox.schemas.keys import Quota

    name, _, value = text.partition("=")
    if name not in Quota.model_fields:
        raise InvalidInput(
            f"--quota {text!r}: there is no such quota; there are {', '.join(Quota.model_fields)}"
        )
    try:
        return name, int(value) if value.isdigit() else float(value)
    except ValueError:
        raise InvalidInput(f"--quota {text!r}: give NAME=NUMBER, such as concurrent_jobs=4") from None


def _fields(key: Key) -> tuple[tuple[str, object], ...]:
    scopes = " ".join(key.scopes)
    return (
        ("id", key.id),
        ("team", key.team_id),
        ("name", key.name),
        ("scopes", scopes),
        ("state", _state(key)),
    )


def _print_secret(there: Remote, key: KeyWithSecret) -> None:
    there.print_one(key, (*_fields(key), ("secret", key.secret)))
    say("keep the secret now: it is not shown again")


@command()
async def list_(there: Remote, team: TeamFilter = None, limit: Limit = LISTED) -> None:
    """List keys, newest first, revoked ones as well."""
    columns = ("ID", "NAME", "SECRET", "SCOPES", "STATE", "LAST USED", "CREATED")
    await there.print_list(there.client.keys.list(team=team, limit=limit or None), columns, _row)


def _row(key: Key) -> tuple[str, ...]:
    last, made = moment(key.last_used_at), moment(key.created_at)
    return key.id, key.name, f"…{key.hint}", " ".join(key.scopes), _state(key), last, made


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.suspended_at is not None:
        return "suspended"
    if key.expires_at is None:
        return "active"
    return f"until {moment(key.expires_at)}" if key.expires_at > datetime.now(UTC) else "expired"


@command()
async def update(
    there: Remote,
    key_id: KeyId,
    name: Annotated[str | None, option("--name", "For people.", "TEXT")] = None,
    scopes: Annotated[list[str] | None, option("--scope", "read, run, admin or operator.", "SCOPE")] = None,
    days: Days = None,
    forever: Annotated[bool, option("--forever", "Let it not end by itself.")] = False,
    quotas: Quotas = None,
) -> None:
    """Change a key; what is left out stays. Scopes and quotas that are given are all that it has then."""
    if forever and days is not None:
        raise InvalidInput("--days and --forever do not go together")
    given = {"name": name, "scopes": scopes, "expires_at": _after(days), "quota": quotas_of(quotas) or None}
    changes: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if forever:
        changes["expires_at"] = None
    key = await there.client.keys.update(key_id, **changes)
    there.print_one(key, _fields(key))


@command()
async def rotate(
    there: Remote,
    key_id: KeyId,
    grace_s: Annotated[
        float, option("--grace", "How long the secret until now stays good.", "SECONDS", min=0)
    ] = 0,
) -> None:
    """Give a key another secret, which is shown this once."""
    _print_secret(there, await there.client.keys.rotate(key_id, grace_s=grace_s))


@command()
async def revoke(
    there: Remote,
    key_id: KeyId,
    running: Annotated[
        str, option("--running", "End its running jobs, or keep them for the team.", "end|keep")
    ] = "end",
) -> None:
    """End a key for good, at once. Its jobs that wait are cancelled."""
    _print_state(there, await there.client.keys.revoke(key_id, running=running))


@command()
async def suspend(there: Remote, key_id: KeyId) -> None:
    """Let a key do nothing until it is resumed. Its jobs go on."""
    _print_state(there, await there.client.keys.suspend(key_id))


@command()
async def resume(there: Remote, key_id: KeyId) -> None:
    """Let a suspended key be used again."""
    _print_state(there, await there.client.keys.resume(key_id))


def _print_state(there: Remote, key: Key) -> None:
    there.print_one(key, (("id", key.id), ("state", _state(key))))


@command()
async def me(there: Remote) -> None:
    """Show the key in use, without its secret."""
    key = await there.client.me()
    there.print_one(key, _fields(key))

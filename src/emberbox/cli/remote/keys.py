"""`emberbox keys`: who may use a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import commands
from emberbox.cli.failures import say
from emberbox.cli.remote.remote import LISTED, Limit, Remote, command, identifier
from emberbox.cli.tables import moment
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from emberbox.schemas.keys import Key, KeyWithSecret

KeyId = Annotated[str, identifier("key")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    named = (("create", create), ("list", show), ("rotate", rotate), ("revoke", revoke), ("me", me))
    commands.group(app, "keys", "Make, rotate, and revoke the API keys of a server.", *named)


@command()
async def create(
    there: Remote,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people.", show_default=False)],
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", metavar="SCOPE", help="read, run or admin. [usual: run]")
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", metavar="N", help="Let it end by itself after so many days.")
    ] = None,
    quotas: Annotated[
        list[str] | None,
        typer.Option("--quota", metavar="NAME=N", help="Such as concurrent_jobs=4; may be repeated."),
    ] = None,
) -> None:
    """Make a key. Its secret is shown this once."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    quota = dict(_quota(text) for text in quotas or ())
    made = await there.client.keys.create(name, scopes or ["run"], expires_at=expires_at, quota=quota)
    _print_secret(there, made)


def _quota(text: str) -> tuple[str, float]:
    from emberbox.schemas.keys import KeyQuota

    name, _, value = text.partition("=")
    if name not in KeyQuota.model_fields:
        raise InvalidInput(
            f"--quota {text!r}: there is no such quota; there are {', '.join(KeyQuota.model_fields)}"
        )
    try:
        return name, int(value) if value.isdigit() else float(value)
    except ValueError:
        raise InvalidInput(f"--quota {text!r}: give NAME=NUMBER, such as concurrent_jobs=4") from None


def _fields(key: Key) -> tuple[tuple[str, object], ...]:
    return ("id", key.id), ("name", key.name), ("scopes", " ".join(key.scopes)), ("state", _state(key))


def _print_secret(there: Remote, key: KeyWithSecret) -> None:
    there.print_one(key, (*_fields(key), ("secret", key.secret)))
    say("keep the secret now: it is not shown again")


@command()
async def show(there: Remote, limit: Limit = LISTED) -> None:
    """List keys, newest first, revoked ones as well."""
    columns = ("ID", "NAME", "SECRET", "SCOPES", "STATE", "LAST USED", "CREATED")
    await there.print_list(there.client.keys.list(limit=limit or None), columns, _row)


def _row(key: Key) -> tuple[str, ...]:
    last, made = moment(key.last_used_at), moment(key.created_at)
    return key.id, key.name, f"…{key.hint}", " ".join(key.scopes), _state(key), last, made


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "active"
    return f"until {moment(key.expires_at)}" if key.expires_at > datetime.now(UTC) else "expired"


@command()
async def rotate(
    there: Remote,
    key_id: KeyId,
    grace_s: Annotated[
        float,
        typer.Option("--grace", metavar="SECONDS", min=0, help="How long the secret until now stays good."),
    ] = 0,
) -> None:
    """Give a key another secret, which is shown this once."""
    _print_secret(there, await there.client.keys.rotate(key_id, grace_s=grace_s))


@command()
async def revoke(there: Remote, key_id: KeyId) -> None:
    """End a key for good, at once."""
    key = await there.client.keys.revoke(key_id)
    there.print_one(key, (("id", key.id), ("state", _state(key))))


@command()
async def me(there: Remote) -> None:
    """Show the key in use, without its secret."""
    key = await there.client.me()
    there.print_one(key, _fields(key))

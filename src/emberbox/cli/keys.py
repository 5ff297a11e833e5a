"""`emberbox keys`: who may use a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import remote
from emberbox.cli.failures import say
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from emberbox.client import AsyncClient
    from emberbox.schemas.keys import Key, KeyWithSecret

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = (("create", create), ("list", show), ("rotate", rotate), ("revoke", revoke), ("me", me))
    remote.group(app, "keys", "Make, rotate, and revoke the API keys of a server.", *commands)


def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people.", show_default=False)],
    scopes: Annotated[list[str] | None, typer.Option("--scope", metavar="SCOPE", help="read, run or admin. [usual: run]")] = None,
    days: Annotated[float | None, typer.Option("--days", metavar="N", help="Let it end by itself after so many days.")] = None,
    quotas: Annotated[
        list[str] | None, typer.Option("--quota", metavar="NAME=N", help="Such as concurrent_jobs=4; may be repeated.")
    ] = None,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Make a key. Its secret is shown this once."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    quota = dict(_quota(text) for text in quotas or ())

    async def work(client: AsyncClient) -> None:
        _print_secret(json, await client.keys.create(name, scopes or ["run"], expires_at=expires_at, quota=quota))

    return remote.call(ctx, server, profile, work)


def _quota(text: str) -> tuple[str, float]:
    from emberbox.schemas.keys import KeyQuota

    name, _, value = text.partition("=")
    if name not in KeyQuota.model_fields:
        raise InvalidInput(f"--quota {text!r}: there is no such quota; there are {', '.join(KeyQuota.model_fields)}")
    try:
        return name, int(value) if value.isdigit() else float(value)
    except ValueError:
        raise InvalidInput(f"--quota {text!r}: give NAME=NUMBER, such as concurrent_jobs=4") from None


def _print_secret(json: bool, key: KeyWithSecret) -> None:
    fields = (
        ("id", key.id), ("name", key.name), ("scopes", " ".join(key.scopes)), ("state", _state(key)), ("secret", key.secret),
    )  # fmt: skip
    remote.print_one(json, key, fields)
    say("keep the secret now: it is not shown again")


def show(
    ctx: typer.Context,
    limit: remote.Limit = remote.LISTED,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """List keys, newest first, revoked ones as well."""

    async def work(client: AsyncClient) -> None:
        found = await remote.take(client.keys.list(limit=remote.bound(limit)))
        remote.print_list(json, found, ("ID", "NAME", "SECRET", "SCOPES", "STATE", "LAST USED", "CREATED"), _row)

    return remote.call(ctx, server, profile, work)


def _row(key: Key) -> tuple[str, ...]:
    last, made = remote.moment(key.last_used_at), remote.moment(key.created_at)
    return key.id, key.name, f"…{key.hint}", " ".join(key.scopes), _state(key), last, made


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "active"
    return f"until {remote.moment(key.expires_at)}" if key.expires_at > datetime.now(UTC) else "expired"


def rotate(
    ctx: typer.Context,
    key_id: KeyId,
    grace_s: Annotated[
        float, typer.Option("--grace", metavar="SECONDS", min=0, help="How long the secret until now stays good.")
    ] = 0,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Give a key another secret, which is shown this once."""

    async def work(client: AsyncClient) -> None:
        _print_secret(json, await client.keys.rotate(key_id, grace_s=grace_s))

    return remote.call(ctx, server, profile, work)


def revoke(
    ctx: typer.Context,
    key_id: KeyId,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """End a key for good, at once."""

    async def work(client: AsyncClient) -> None:
        key = await client.keys.revoke(key_id)
        remote.print_one(json, key, (("id", key.id), ("state", _state(key))))

    return remote.call(ctx, server, profile, work)


def me(ctx: typer.Context, json: remote.Json = False, server: remote.Server = None, profile: remote.ProfileName = None) -> int:
    """Show the key in use, without its secret."""

    async def work(client: AsyncClient) -> None:
        key = await client.me()
        fields = (("id", key.id), ("name", key.name), ("scopes", " ".join(key.scopes)), ("state", _state(key)))
        remote.print_one(json, key, fields)

    return remote.call(ctx, server, profile, work)

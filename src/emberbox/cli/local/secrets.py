"""`emberbox secrets`: the keys that encrypt secrets in the service's database."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli.commands import group, takes
from emberbox.cli.failures import say
from emberbox.cli.interrupts import run_interruptible
from emberbox.cli.options import DRY_RUN, JSON
from emberbox.cli.tables import print_fields, print_json, print_removed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from emberbox.config import Settings
    from emberbox.service.secrets.keys import Keyring
    from emberbox.service.secrets.rotation import Report
    from emberbox.service.secrets.source import KeySource
    from emberbox.store import Database


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "Look after the keys that encrypt secrets in the service's database."
    group(app, "secrets", text, status, rotate, prune)


@takes(JSON)
def status(ctx: typer.Context, *, json: bool) -> None:
    """Tell which keys there are, what is encrypted with each, and what cannot be read."""
    told = run_interruptible(lambda: _status(ctx.obj.settings()))
    if json:
        print_json(told)
    else:
        print_fields(_fields(told))


async def _status(settings: Settings) -> dict[str, Any]:
    from emberbox.errors import SecretsUnavailable
    from emberbox.service.secrets.rotation import examine

    ring, problem = None, None
    async with _opened(settings) as (db, source):
        try:
            ring = source.load()
        except SecretsUnavailable as error:
            problem = error.message
        return _told(await examine(db, ring), ring) | {"problem": problem}


def _told(report: Report, ring: Keyring | None) -> dict[str, Any]:
    keys = [] if ring is None else [key.id for key in ring.keys]
    return {
        "keys": [{"id": key, "rows": report.rows[key]} for key in keys],
        "plain_rows": report.rows[""],
        "unreadable": [
            {"what": what, "rows": rows, "why": why}
            for (what, why), rows in sorted(report.unreadable.items())
        ],
        "examples": report.examples,
    }


def _fields(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for number, key in enumerate(told["keys"]):
        use = "encrypts" if number == 0 else "only reads"
        yield "key", f"{key['id']} ({use}; {key['rows']} rows)"
    if told["problem"]:
        yield "no keys", told["problem"]
    if told["plain_rows"]:
        yield "not encrypted", f"{told['plain_rows']} rows; mend it with: emberbox secrets rotate"
    for one in told["unreadable"]:
        yield "cannot be read", f"{one['rows']} {one['what']}: {one['why']}"
    if told["examples"]:
        yield "such as", " ".join(told["examples"])


@takes()
def rotate(ctx: typer.Context) -> None:
    """Encrypt everything with a new key; the old ones are read still, until they are pruned.

    Of a credential or a command, put the new key first yourself, then call this.
    """
    report = run_interruptible(lambda: _rotate(ctx.obj.settings()))
    say(f"{report.written} rows are encrypted anew")
    if lost := sum(report.unreadable.values()):
        say(f"{lost} rows cannot be read, and stay as they are; see: emberbox secrets status")
    say("in a minute, when all services know the new key, drop the old ones with: emberbox secrets prune")


async def _rotate(settings: Settings) -> Report:
    from emberbox.service.secrets.changing import rotate as changed

    async with _opened(settings) as (db, source):
        return await changed(db, source)


@takes(DRY_RUN)
def prune(ctx: typer.Context, *, dry_run: bool) -> None:
    """Drop the keys that nothing is encrypted with any more."""
    settings = ctx.obj.settings()
    dropped = run_interruptible(lambda: _prune(settings, dry_run=dry_run))
    if dropped and (settings.secrets.key_credential or settings.secrets.key_command):
        say("nothing needs these keys any more; take them out where the keys come from")
        dry_run = True
    print_removed(f"{len(dropped)} keys", dropped, dry_run=dry_run)


async def _prune(settings: Settings, *, dry_run: bool) -> list[str]:
    from emberbox.service.secrets.changing import prune as pruned

    async with _opened(settings) as (db, source):
        return await pruned(db, source, dry_run=dry_run)


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Database, KeySource]]:
    """Open the service's database, whether a service runs or not, and the source of its keys."""
    from emberbox.service.secrets.source import key_source
    from emberbox.store.database import Database, database_url
    from emberbox.store.migrate import upgrade

    url = database_url(settings.store, settings.data)
    await upgrade(url)
    db = Database(url)
    try:
        yield db, key_source(settings.secrets, settings.data)
    finally:
        await db.close()

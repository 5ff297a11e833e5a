"""The keys' life beside the database: their beginning, their rotation, and the end of old ones."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from emberbox.errors import Conflict, SecretsUnavailable
from emberbox.service.secrets.keys import Key, Keyring
from emberbox.service.secrets.rotation import Report, examine, reseal
from emberbox.service.secrets.source import KeyFile
from emberbox.store.tables import meta

if TYPE_CHECKING:
    from collections.abc import Collection

    from emberbox.service.secrets.source import KeySource
    from emberbox.service.secrets.vault import Vault
    from emberbox.store.database import Database

_log = logging.getLogger(__name__)

SETTLED_S = 60.0
"""So long after a rotation no service seals with the key of before: each reads the file every few seconds."""
_USED = "secret_keys"
_SEALED = "secrets_sealed"
_WHAT_TO_DO = (
    "put the lost key back, as a further line of the keys; or begin with a new one (emberbox secrets "
    "rotate), and set anew what cannot be read (emberbox secrets status lists it)"
)


async def begin(db: Database, source: KeySource, vault: Vault) -> None:
    """Load a vault when a service starts: with a new key where there never was one.

    Secrets of releases that did not seal them are sealed, once. A key that is lost is told in the log; what
    needs no secret works all the same.

    Raises:
        StoreError, NoSpace: The database failed.
    """
    used = await _listed(db, _USED)
    if isinstance(source, KeyFile) and source.own and not used:
        await asyncio.to_thread(source.begin)
    await asyncio.to_thread(vault.load)
    try:
        ring = vault.ring
    except SecretsUnavailable:
        if used:
            _tell_lost(used)
        return
    if lost := used - {key.id for key in ring.keys}:
        _tell_lost(lost)
    await _remember(db, _USED, used | {ring.current.id})
    if not await _listed(db, _SEALED):
        await reseal(db, ring)
        await _remember(db, _SEALED, {"yes"})


async def rotate(db: Database, source: KeySource) -> Report:
    """Seal everything with a new key; the keys of before are read still.

    A key file gets a new first line. Of another source, its owner has put the new key first.

    Raises:
        SecretsUnavailable: The keys that are there cannot be read; nothing was changed.
        StoreError, NoSpace, OSError: It was broken off; nothing is lost, and it can be repeated.
    """
    read = partial(_with_new_key, source) if isinstance(source, KeyFile) else source.load
    ring = await asyncio.to_thread(read)
    await _remember(db, _USED, await _listed(db, _USED) | {ring.current.id})
    return await reseal(db, ring)


def _with_new_key(file: KeyFile) -> Keyring:
    before = () if file.missing else file.load().keys
    ring = Keyring((Key.new(), *before))
    file.write(ring)
    return ring


async def prune(db: Database, source: KeySource, *, dry_run: bool = False) -> list[str]:
    """Drop the keys that nothing is sealed with any more; returns their ids.

    From another source than a key file its owner has to take them; they are named all the same.

    Raises:
        Conflict: The keys were changed less than `SETTLED_S` ago; nothing was done.
        SecretsUnavailable: The keys cannot be read; nothing was done.
        StoreError, NoSpace, OSError: It was broken off; nothing is lost, and it can be repeated.
    """
    ring = await asyncio.to_thread(source.load)
    if isinstance(source, KeyFile) and source.age_s() < SETTLED_S:
        raise Conflict(
            "the keys were changed a moment ago, and a service may seal with the one of before for a while: "
            f"try again {SETTLED_S:g} seconds after the rotation"
        )
    report = await examine(db, ring) if dry_run else await reseal(db, ring)
    kept = tuple(key for key in ring.keys if key is ring.current or report.rows[key.id])
    unused = [key.id for key in ring.keys if key not in kept]
    if not dry_run:
        if unused and isinstance(source, KeyFile):
            await asyncio.to_thread(source.write, Keyring(kept))
        # Of a lost key that nothing more needs, nobody has to be told at each start.
        needed = {key.id for key in kept} | (await _listed(db, _USED) if report.unreadable else set())
        await _remember(db, _USED, needed - set(unused))
    return unused


def _tell_lost(key_ids: Collection[str]) -> None:
    _log.warning(
        "secrets in the database were sealed with keys that are not here (%s): %s",
        ", ".join(sorted(key_ids)),
        _WHAT_TO_DO,
        extra={"action": "secrets.keys_lost"},
    )


async def _listed(db: Database, name: str) -> set[str]:
    return set((await db.scalar(select(meta.c.value).where(meta.c.name == name)) or "").split())


async def _remember(db: Database, name: str, words: Collection[str]) -> None:
    if await _listed(db, name) == set(words):
        return
    try:
        async with db.writing() as connection:
            await connection.execute(delete(meta).where(meta.c.name == name))
            await connection.execute(insert(meta).values(name=name, value=" ".join(sorted(words))))
    except IntegrityError:
        # Another service on this database does the same at this moment.
        _log.info("%s is being written elsewhere", name, extra={"action": "secrets.elsewhere"})

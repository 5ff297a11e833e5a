"""The admin key of the first start: made once, and never lost to a kill."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.errors import NotAuthenticated
from emberbox.server.first_key import ensure_admin_key
from emberbox.service.accounts.keys import Keys
from emberbox.service.folder import ServiceFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from emberbox.store import Database


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ServiceFolder]:
    with ServiceFolder.claim(tmp_path / "data") as claimed:
        yield claimed


async def test_it_is_made_once(database: Database, folder: ServiceFolder) -> None:
    keys = Keys(database)
    secret = await ensure_admin_key(keys, folder)
    assert secret is not None
    assert folder.admin_key() == secret
    assert "admin" in (await keys.authenticate(secret)).scopes
    assert await ensure_admin_key(keys, folder) is None
    assert len((await keys.list())[0]) == 1


async def test_a_kill_before_it_was_kept_costs_nothing(database: Database, folder: ServiceFolder) -> None:
    keys = Keys(database)
    unknown = await ensure_admin_key(keys, folder)
    folder.admin_key_file.unlink()
    secret = await ensure_admin_key(keys, folder)
    assert secret is not None
    assert folder.admin_key() == secret
    assert len((await keys.list())[0]) == 1
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(str(unknown))


async def test_one_that_was_used_and_taken_away_stays_away(database: Database, folder: ServiceFolder) -> None:
    keys = Keys(database)
    secret = await ensure_admin_key(keys, folder)
    await keys.authenticate(str(secret))
    await keys.flush()
    folder.admin_key_file.unlink()
    assert await ensure_admin_key(keys, folder) is None
    assert folder.admin_key() is None


async def test_another_one_is_made_when_asked(database: Database, folder: ServiceFolder) -> None:
    keys = Keys(database)
    first = await ensure_admin_key(keys, folder)
    second = await ensure_admin_key(keys, folder, renew=True)
    assert second is not None
    assert folder.admin_key() == second
    assert {(await keys.authenticate(str(first))).name, (await keys.authenticate(second)).name} == {
        "first admin key"
    }


async def test_another_database_gets_one_of_its_own(database: Database, folder: ServiceFolder) -> None:
    folder.keep_admin_key("ember_of_another_database")
    secret = await ensure_admin_key(Keys(database), folder)
    assert secret is not None
    assert folder.admin_key() == secret

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.errors import Conflict, InvalidInput, NotFound
from emberbox.service.accounts.keys import Keys
from emberbox.service.accounts.teams import Teams
from emberbox.store.database import Database
from emberbox.store.migrate import create
from emberbox.store.tables import FIRST_TEAM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'service.db'}")
    async with database.writing() as connection:
        await connection.run_sync(create)
    yield database
    await database.close()


@pytest.fixture
def keys(db: Database) -> Keys:
    return Keys(db)


@pytest.fixture
def teams(db: Database, keys: Keys) -> Teams:
    return Teams(db, keys.forget)


async def test_there_is_a_first_team(teams: Teams) -> None:
    first = await teams.get(FIRST_TEAM)
    assert (first.name, first.quota) == ("main", {})


async def test_a_team_is_made_and_changed(teams: Teams) -> None:
    made = await teams.create("data-science", quota={"queued_jobs": 5})
    assert await teams.get(made.id) == made
    changed = await teams.update(made.id, name="science")
    assert (changed.name, changed.quota) == ("science", {"queued_jobs": 5})
    changed = await teams.update(made.id, quota={})
    assert (changed.name, changed.quota) == ("science", {})
    assert await teams.update(made.id) == changed


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "ä", "a" * 64, "a\n", "a.b"])
async def test_names_that_no_host_could_have_are_refused(teams: Teams, name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        await teams.create(name)
    with pytest.raises(InvalidInput, match="name"):
        await teams.update(FIRST_TEAM, name=name)


async def test_no_two_teams_have_one_name(teams: Teams) -> None:
    other = await teams.create("other")
    for call in (teams.create("main"), teams.update(other.id, name="main")):
        with pytest.raises(Conflict, match="already"):
            await call
    assert (await teams.get(other.id)).name == "other"


async def test_quotas_and_teams_that_there_are_none_of(teams: Teams) -> None:
    with pytest.raises(InvalidInput, match="quota"):
        await teams.create("a", quota={"jobs": 1})
    for team_id in ("team_01jxq4cw3m8x3c7dyzv5m4k9rt", "x"):
        with pytest.raises(NotFound):
            await teams.get(team_id)
        with pytest.raises(NotFound):
            await teams.update(team_id, name="b")


async def test_a_new_quota_shows_at_once_though_the_key_was_remembered(teams: Teams, keys: Keys) -> None:
    team = await teams.create("other")
    _, secret = await keys.create("k", ["run"], team_id=team.id)
    assert (await keys.authenticate(secret)).team_quota == {}
    await teams.update(team.id, quota={"burst": 3})
    assert (await keys.authenticate(secret)).team_quota == {"burst": 3}


async def test_pages(teams: Teams) -> None:
    made = [(await teams.create(f"t{number}")).id for number in range(3)]
    page, cursor = await teams.list(limit=2)
    rest, end = await teams.list(cursor=cursor, limit=2)
    assert [team.id for team in page + rest] == [*made[::-1], FIRST_TEAM]
    assert end is None

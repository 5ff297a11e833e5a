from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from emberbox.errors import Conflict, InvalidInput, NotAllowed, NotAuthenticated, NotFound, StoreError
from emberbox.service.accounts.keys import Keys
from emberbox.service.accounts.teams import Teams
from emberbox.store.database import Database, now_us
from emberbox.store.migrate import create
from emberbox.store.tables import FIRST_TEAM
from emberbox.store.tables import keys as table
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
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


async def test_a_new_key_authenticates(keys: Keys) -> None:
    record, secret = await keys.create("laptop", ["run"])
    found = await keys.authenticate(secret)
    assert (found.id, found.name, sorted(found.scopes)) == (record.id, "laptop", ["read", "run"])
    assert len(secret) == len("ember_") + 43
    assert secret.endswith(record.hint)


async def test_nothing_from_which_a_key_could_be_had_is_stored_or_logged(
    keys: Keys, db: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        _, secret = await keys.create("laptop", ["read"])
        await keys.authenticate(secret)
    async with db.reading() as connection:
        row = (await connection.execute(select(table))).mappings().one()
    assert secret[6:20] not in repr(dict(row))
    assert secret[6:20] not in caplog.text


@pytest.mark.parametrize(
    "secret", ["", "ember_", "ember_" + "a" * 43, "ember_" + "a" * 44, "ember_" + "é" * 43, "x" * 100_000]
)
async def test_other_secrets_are_refused(keys: Keys, secret: str) -> None:
    await keys.create("laptop", ["read"])
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(secret)


@pytest.mark.parametrize(
    ("given", "granted"),
    [
        ("read", {"read"}),
        ("run", {"run", "read"}),
        ("admin", {"admin", "run", "read"}),
        ("operator", {"operator", "read"}),
    ],
)
async def test_scopes_imply_lesser_ones(keys: Keys, given: str, granted: set[str]) -> None:
    record, _ = await keys.create("k", [given])
    assert record.scopes == granted


@pytest.mark.parametrize("scopes", [[], ["root"], ["read", ""]])
async def test_unknown_scopes_are_refused(keys: Keys, scopes: list[str]) -> None:
    with pytest.raises(InvalidInput, match="scopes"):
        await keys.create("k", scopes)


async def test_unknown_quotas_and_a_past_expiry_are_refused(keys: Keys) -> None:
    with pytest.raises(InvalidInput, match="queued_jobs"):
        await keys.create("k", ["read"], quota={"jobs": 1})
    with pytest.raises(InvalidInput, match="future"):
        await keys.create("k", ["read"], expires_at=now_us() - 1)


async def test_revocation_shows_at_once_though_the_key_was_remembered(keys: Keys) -> None:
    record, secret = await keys.create("k", ["read"])
    await keys.authenticate(secret)
    revoked = await keys.revoke(record.id)
    assert revoked.revoked_at is not None
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(secret)
    assert await keys.revoke(record.id) == revoked


async def test_revocation_elsewhere_shows_within_the_cache_time(db: Database) -> None:
    here, elsewhere = Keys(db, cache_s=0.05), Keys(db)
    record, secret = await here.create("k", ["read"])
    await here.authenticate(secret)
    await elsewhere.revoke(record.id)
    await asyncio.sleep(0.06)
    with pytest.raises(NotAuthenticated):
        await here.authenticate(secret)


async def test_a_look_up_that_overlaps_a_revocation_is_not_remembered(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, secret = await keys.create("k", ["read"])
    genuine = keys._db.row
    looked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(query: Any) -> Any:
        row = await genuine(query)
        looked.set()
        await go_on.wait()
        return row

    monkeypatch.setattr(keys._db, "row", slow)
    asking = asyncio.ensure_future(keys.authenticate(secret))
    await asyncio.wait_for(looked.wait(), PATIENCE_S)
    await keys.revoke(record.id)
    go_on.set()
    await asking
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(secret)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Stop the clock that keys are judged by; what is returned sets it forward by so many microseconds."""
    now = [now_us()]
    for module in ("keys", "known_keys"):
        monkeypatch.setattr(f"emberbox.service.accounts.{module}.now_us", lambda: now[0])

    def forward(by_us: int) -> None:
        now[0] += by_us

    return forward


async def test_a_remembered_key_expires_on_time(keys: Keys, clock: Callable[[int], None]) -> None:
    _, secret = await keys.create("k", ["read"], expires_at=now_us() + 60_000_000)
    await keys.authenticate(secret)
    clock(61_000_000)
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(secret)


async def test_rotation_leaves_the_old_secret_for_its_grace(keys: Keys, clock: Callable[[int], None]) -> None:
    record, first = await keys.create("k", ["read"])
    rotated, second = await keys.rotate(record.id, grace_s=60)
    assert (rotated.id, rotated.hint) == (record.id, second[-4:])
    assert (await keys.authenticate(first)).id == (await keys.authenticate(second)).id == record.id
    clock(61_000_000)
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(first)
    await keys.authenticate(second)


async def test_rotation_without_grace_ends_the_old_secret_at_once(keys: Keys) -> None:
    record, first = await keys.create("k", ["read"])
    await keys.authenticate(first)
    _, second = await keys.rotate(record.id)
    _, third = await keys.rotate(record.id, grace_s=60)
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(first)
    await keys.authenticate(second)
    await keys.authenticate(third)


async def test_the_grace_does_not_outlive_the_key(keys: Keys) -> None:
    record, first = await keys.create("k", ["read"])
    await keys.rotate(record.id, grace_s=60)
    await keys.revoke(record.id)
    with pytest.raises(NotAuthenticated):
        await keys.authenticate(first)


async def test_a_revoked_key_cannot_be_changed(keys: Keys) -> None:
    record, _ = await keys.create("k", ["read"])
    await keys.revoke(record.id)
    with pytest.raises(Conflict):
        await keys.rotate(record.id)
    with pytest.raises(Conflict):
        await keys.update(record.id, name="other")


async def test_changes_show_at_once(keys: Keys) -> None:
    record, secret = await keys.create("k", ["run"], quota={"queued_jobs": 3})
    await keys.authenticate(secret)
    await keys.update(record.id, name="n", scopes=["read"], quota={"burst": 5}, expires_at=now_us() + 10**9)
    found = await keys.authenticate(secret)
    assert (found.name, sorted(found.scopes), found.quota) == ("n", ["read"], {"burst": 5.0})
    assert (await keys.update(record.id, expires_at=None)).expires_at is None


async def test_the_last_operators_key_stays(keys: Keys) -> None:
    first, _ = await keys.create("operator", ["admin", "operator"])
    await keys.create("run", ["run"])
    with pytest.raises(Conflict):
        await keys.revoke(first.id)
    with pytest.raises(Conflict):
        await keys.update(first.id, scopes=["run"])
    with pytest.raises(Conflict):
        await keys.update(first.id, expires_at=now_us() + 10**9)
    other, _ = await keys.create("other", ["admin", "operator"])
    await keys.revoke(first.id)
    with pytest.raises(Conflict):
        await keys.revoke(other.id)
    assert await keys.has_operator()


async def test_of_two_operators_keys_revoked_at_once_one_stays(keys: Keys) -> None:
    ids = [(await keys.create("operator", ["admin", "operator"]))[0].id for _ in range(2)]
    outcomes = await asyncio.gather(*(keys.revoke(key_id) for key_id in ids), return_exceptions=True)
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 1


async def test_an_expired_operators_key_does_not_count(keys: Keys, db: Database) -> None:
    first, _ = await keys.create("operator", ["admin", "operator"])
    second, _ = await keys.create("expired", ["admin", "operator"])
    async with db.writing() as connection:
        await connection.execute(update(table).where(table.c.id == second.id).values(expires_at=now_us() - 1))
    with pytest.raises(Conflict):
        await keys.revoke(first.id)
    await keys.revoke(second.id)


async def test_the_last_admin_key_of_a_team_may_go(keys: Keys) -> None:
    await keys.create("operator", ["admin", "operator"])
    admin, _ = await keys.create("admin", ["admin"])
    assert (await keys.revoke(admin.id)).revoked_at is not None


async def test_a_key_of_no_team_is_not_made(keys: Keys) -> None:
    for team_id in ("team_01jxq4cw3m8x3c7dyzv5m4k9rt", "x"):
        with pytest.raises(NotFound):
            await keys.create("k", ["run"], team_id=team_id)


async def test_an_admin_manages_keys_of_the_team_and_no_greater_ones(keys: Keys, db: Database) -> None:
    other = await Teams(db, keys.forget).create("other")
    operator, _ = await keys.create("operator", ["admin", "operator"])
    admin, _ = await keys.create("admin", ["admin"])
    mine, _ = await keys.create("mine", ["run"], by=admin)
    theirs, _ = await keys.create("theirs", ["run"], team_id=other.id, by=operator)
    for call in (
        keys.create("k", ["operator"], by=admin),
        keys.create("k", ["run"], team_id=other.id, by=admin),
        keys.update(mine.id, scopes=["operator"], by=admin),
        keys.update(operator.id, name="mine now", by=admin),
        keys.rotate(operator.id, by=admin),
        keys.revoke(operator.id, by=admin),
    ):
        with pytest.raises(NotAllowed):
            await call
    for call in (
        keys.get(theirs.id, by=admin),
        keys.update(theirs.id, name="x", by=admin),
        keys.rotate(theirs.id, by=admin),
        keys.revoke(theirs.id, by=admin),
    ):
        with pytest.raises(NotFound):
            await call
    assert (await keys.update(mine.id, name="x", by=admin)).name == "x"
    assert (await keys.get(operator.id, by=admin)).name == "operator"
    assert (await keys.revoke(theirs.id, by=operator)).revoked_at is not None


async def test_a_list_holds_one_teams_keys(keys: Keys, db: Database) -> None:
    other = await Teams(db, keys.forget).create("other")
    mine, _ = await keys.create("mine", ["run"])
    theirs, _ = await keys.create("theirs", ["run"], team_id=other.id)
    assert [key.id for key in (await keys.list(FIRST_TEAM))[0]] == [mine.id]
    assert [key.id for key in (await keys.list(other.id))[0]] == [theirs.id]
    assert len((await keys.list())[0]) == 2


async def test_pages_hold_each_key_once_newest_first(keys: Keys) -> None:
    made = [(await keys.create(str(number), ["read"]))[0].id for number in range(5)]
    seen, cursor = [], None
    for _ in range(3):
        page, cursor = await keys.list(cursor=cursor, limit=2)
        seen += [record.id for record in page]
    assert (seen, cursor) == (made[::-1], None)
    with pytest.raises(InvalidInput):
        await keys.list(cursor="job_x")


async def test_what_is_not_there_is_not_found(keys: Keys) -> None:
    for attempt in (
        keys.get("key_x"),
        keys.revoke("key_" + "0" * 26),
        keys.rotate("'; --"),
        keys.update("", name="x"),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_the_last_use_is_written_by_flush(keys: Keys) -> None:
    record, secret = await keys.create("k", ["read"])
    before = now_us()
    await keys.authenticate(secret)
    assert (await keys.get(record.id)).last_used_at is None
    await keys.flush()
    assert before <= ((await keys.get(record.id)).last_used_at or 0) <= now_us()


async def test_a_use_that_could_not_be_written_is_written_later(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, secret = await keys.create("k", ["read"])
    await keys.authenticate(secret)
    with monkeypatch.context() as broken:
        broken.setattr(keys._db, "change", _broken)
        with pytest.raises(StoreError):
            await keys.flush()
    await keys.flush()
    assert (await keys.get(record.id)).last_used_at is not None


def _broken(*arguments: object) -> object:
    raise StoreError("the database failed")


async def test_the_last_use_is_written_in_time_by_itself(keys: Keys) -> None:
    record, secret = await keys.create("k", ["read"])
    keys._written -= 60
    await keys.authenticate(secret)
    await keys._keeper.settle()
    assert (await keys.get(record.id)).last_used_at is not None

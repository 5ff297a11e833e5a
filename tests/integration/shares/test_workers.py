"""How many of the workers' places one team takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.config import QuotaSettings
from emberbox.store.tables import workers
from tests.storing import quotas_of

if TYPE_CHECKING:
    from emberbox.service.accounts.quota import Quotas
    from emberbox.service.service import Service


async def read(quotas: Quotas) -> Quotas:
    quotas._own_read = float("-inf")
    await quotas.refresh()
    return quotas


async def test_a_team_alone_takes_all_and_half_beside_another(service: Service) -> None:
    first, _ = await service.keys.create("first", ["run"])
    quotas = await read(quotas_of(service.db, places=5))
    assert not quotas.bounds(), "there is nobody to be kept waiting"
    team = await service.teams.create("other")
    assert not (await read(quotas)).bounds(), "a team without a key wants nothing"
    key, _ = await service.keys.create("theirs", ["run"], team_id=team.id)
    bounds = (await read(quotas)).bounds()
    assert bounds.default == bounds.of[first.team_id] == bounds.of[team.id] == 2
    await service.keys.revoke(key.id)
    assert not (await read(quotas)).bounds()


async def test_another_team_counts_from_its_first_job_on(service: Service) -> None:
    await service.keys.create("ours", ["run"])
    quotas = await read(quotas_of(service.db, places=4))
    team = await service.teams.create("other")
    key, _ = await service.keys.create("theirs", ["run"], team_id=team.id)
    assert not quotas.bounds()
    quotas.learn(key)
    assert quotas.bounds().default == quotas.bounds().of[team.id] == 2


async def test_a_team_that_comes_first_does_not_hide_another(service: Service) -> None:
    """Both are new; the one that does not wait to submit may not take all places for that."""
    quotas = await read(quotas_of(service.db, places=4))
    await service.keys.create("ours", ["run"])
    team = await service.teams.create("other")
    key, _ = await service.keys.create("theirs", ["run"], team_id=team.id)
    quotas.learn(key)
    await quotas.refresh()
    assert quotas.bounds().of[team.id] == 2


async def test_the_places_of_all_workers_count(service: Service) -> None:
    team = await service.teams.create("other")
    await service.keys.create("ours", ["run"])
    await service.keys.create("theirs", ["run"], team_id=team.id)
    await service.db.change(workers.delete())
    for number in range(3):
        row = {"id": f"w{number}", "node": f"n{number}", "concurrency": 4, "started_at": 0, "seen_at": 0}
        await service.db.change(workers.insert(), row)
    assert (await read(quotas_of(service.db, places=4))).bounds().default == 6
    assert (await read(quotas_of(service.db, places=1))).bounds().default == 6


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({"concurrent_jobs": 0}, 0),
        ({"concurrent_jobs": 7}, 7),
        ({"worker_share": 1}, 0),
        ({"worker_share": 0.25}, 1),
    ],
)
async def test_the_operator_may_give_a_team_more(
    service: Service, own: dict[str, float], expected: int
) -> None:
    team = await service.teams.create("other", quota=own)
    await service.keys.create("theirs", ["run"], team_id=team.id)
    await service.keys.create("ours", ["run"])
    bounds = (await read(quotas_of(service.db, places=4))).bounds()
    assert bounds.of[team.id] == expected
    assert bounds.default == 2


async def test_an_absolute_bound_in_the_settings_wins(service: Service) -> None:
    quota = replace(QuotaSettings(), concurrent_jobs=3)
    assert (await read(quotas_of(service.db, quota, places=4))).bounds().default == 3

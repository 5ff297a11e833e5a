"""What every queue keeps to."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

from emberbox.service.accounts.quota import Bounds, Share
from emberbox.service.jobs.queue.base import CancelRequests
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from tests.contract.queue.conftest import Bench

LEASE_S = 60.0
END = {"status": "cancelled", "reason": "cancelled", "finished_at": 7}


async def test_first_come_first_served(bench: Bench) -> None:
    offered = [(await bench.job()).id for _ in range(5)]
    assert [job.id for job in await bench.queue.claim("w", 3, LEASE_S)] == offered[:3]
    assert [job.id for job in await bench.queue.claim("w", 3, LEASE_S)] == offered[3:]
    assert await bench.queue.claim("w", 3, LEASE_S) == []


async def test_a_claim_says_all(bench: Bench) -> None:
    offered = await bench.job()
    (job,) = await bench.queue.claim("w", 1, LEASE_S)
    assert (job.status, job.worker_id, job.attempt, job.team_id) == ("running", "w", 1, "team_a")
    assert job.claimed_at is not None
    assert job.claimed_at >= offered.created_at
    assert job.lease_until_at == job.claimed_at + 60_000_000
    assert await bench.now(job) == job


async def test_offering_twice_is_harmless(bench: Bench) -> None:
    job = await bench.job()
    await bench.queue.put([job])
    assert len(await bench.queue.claim("w", 9, LEASE_S)) == 1
    await bench.queue.put([job])
    assert await bench.queue.claim("w", 9, LEASE_S) == []


async def test_higher_priorities_first(bench: Bench) -> None:
    priorities = [0, 5, -5, 10, 0, 5]
    for priority in priorities:
        await bench.job(priority=priority)
    assert [job.priority for job in await bench.queue.claim("w", 9, LEASE_S)] == sorted(
        priorities, reverse=True
    )


async def test_teams_take_turns(bench: Bench) -> None:
    for _ in range(20):
        await bench.job("greedy")
    for _ in range(4):
        await bench.job("modest")
    first = [job.team_id for job in await bench.queue.claim("w", 8, LEASE_S)]
    assert first.count("team_modest") == 4, "the modest team does not wait behind the greedy one's twenty"


async def test_turns_are_taken_within_each_priority(bench: Bench) -> None:
    """What a team has waiting or running at one priority costs nobody a turn at another."""
    for _ in range(20):
        await bench.job("greedy")
    await bench.job("greedy", priority=5)
    (urgent,) = await bench.queue.claim("w", 1, LEASE_S)
    assert urgent.priority == 5
    await bench.job("modest")
    assert "team_modest" in {job.team_id for job in await bench.queue.claim("w", 2, LEASE_S)}
    for _ in range(10):
        await bench.job("modest", priority=5)
    await bench.job("greedy", priority=5)
    assert "team_greedy" in {job.team_id for job in await bench.queue.claim("w", 2, LEASE_S)}


async def test_turns_hold_while_jobs_run_and_come(bench: Bench) -> None:
    """Three teams that always have jobs waiting get a third each, whenever they came, one claim at a time."""
    shares: dict[str, int] = {}
    random_ = random.Random(1)  # noqa: S311
    for _ in range(30):
        await bench.job("early")
    for step in range(60):
        for owner in random_.sample(["early", "late", "later"], 3):
            await bench.job(owner)
        (job,) = await bench.queue.claim("w", 1, LEASE_S)
        if step >= 15:
            shares[job.team_id] = shares.get(job.team_id, 0) + 1
    assert all(abs(share - 15) <= 3 for share in shares.values()), shares
    assert len(shares) == 3


async def test_a_team_that_comes_back_is_not_paid_for_its_absence(bench: Bench) -> None:
    for _ in range(10):
        await bench.job("steady")
    await bench.queue.claim("w", 10, LEASE_S)
    for _ in range(10):
        await bench.job("steady")
        await bench.job("back")
    owners = [job.team_id for job in await bench.queue.claim("w", 10, LEASE_S)]
    assert owners.count("team_back") == 5


async def test_each_job_goes_to_one_worker(bench: Bench) -> None:
    offered = {(await bench.job()).id for _ in range(40)}
    claims = await asyncio.gather(*(bench.queue.claim(f"w{n}", 7, LEASE_S) for n in range(8)))
    claimed = [job.id for claim in claims for job in claim]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) <= offered
    rest = await bench.queue.claim("last", 40, LEASE_S)
    assert {*claimed, *(job.id for job in rest)} == offered


async def test_a_team_at_its_bound_is_passed_over(bench: Bench) -> None:
    bench.bounds = Bounds(0, {"team_bounded": 2})
    for _ in range(4):
        await bench.job("bounded")
        await bench.job("free")
    claimed = []
    while found := await bench.queue.claim("w", 8, LEASE_S):
        claimed += found
    assert [job.team_id for job in claimed].count("team_bounded") == 2
    assert [job.team_id for job in claimed].count("team_free") == 4
    done = next(job for job in claimed if job.team_id == "team_bounded")
    await bench.queue.give_back(done, delay_s=0, outcome="given_back", message=None)
    assert [job.team_id for job in await bench.queue.claim("w", 8, LEASE_S)] == ["team_bounded"]


async def test_a_key_at_its_bound_is_passed_over_and_its_team_goes_on(bench: Bench) -> None:
    bench.bounds = Bounds(0, {"team_a": 3}, {"key_held": 1})
    for _ in range(4):
        await bench.job("a/held")
        await bench.job("a/free")
        await bench.job("b/free")
    claimed = []
    while found := await bench.queue.claim("w", 20, LEASE_S):
        claimed += found
    whose = [(job.team_id, job.key_id) for job in claimed]
    assert {one: whose.count(one) for one in set(whose)} == {
        ("team_a", "key_held"): 1,
        ("team_a", "key_free"): 2,
        ("team_b", "key_free"): 4,
    }


async def test_a_teams_keys_share_its_turns(bench: Bench) -> None:
    for _ in range(10):
        await bench.job("a/one")
        await bench.job("a/two")
    for _ in range(4):
        await bench.job("b")
    owners = [job.team_id for job in await bench.queue.claim("w", 8, LEASE_S)]
    assert owners.count("team_b") == 4


async def test_the_default_bound_is_for_teams_without_their_own(bench: Bench) -> None:
    bench.bounds = Bounds(1, {"team_more": 3, "team_any": 0})
    for owner in ("more", "any", "usual"):
        for _ in range(5):
            await bench.job(owner)
    owners = []
    while found := await bench.queue.claim("w", 20, LEASE_S):
        owners += [job.team_id for job in found]
    assert {owner: owners.count(owner) for owner in set(owners)} == {
        "team_more": 3,
        "team_any": 5,
        "team_usual": 1,
    }


async def test_a_job_that_is_to_be_cancelled_never_starts(bench: Bench) -> None:
    job = await bench.job()
    asked = await bench.queue.request_cancel(job.id)
    assert asked is not None
    assert asked.cancel_at is not None
    assert await bench.queue.claim("w", 1, LEASE_S) == []
    assert await bench.queue.request_cancel(job.id) == asked, "asking again changes nothing"


async def test_there_is_nothing_to_cancel_in_a_job_that_is_not_there(bench: Bench) -> None:
    assert await bench.queue.request_cancel("job_none") is None


async def test_each_worker_hears_of_its_own_cancellations(bench: Bench) -> None:
    for _ in range(2):
        await bench.job()
    (mine,) = await bench.queue.claim("w", 1, LEASE_S)
    (other,) = await bench.queue.claim("x", 1, LEASE_S)
    waiting = await bench.job()
    await bench.job()
    assert await bench.queue.cancel_requests("w") == CancelRequests()
    for job in (mine, other, waiting):
        await bench.queue.request_cancel(job.id)
    assert await bench.queue.cancel_requests("w") == CancelRequests(queued=(waiting.id,), held=(mine.id,))


async def test_ending_what_waits(bench: Bench) -> None:
    job = await bench.job()
    async with bench.transaction() as connection:
        ended = await bench.queue.end_queued(connection, job.id, END)
    assert ended is not None
    assert (ended.id, ended.status, ended.finished_at) == (job.id, "cancelled", 7)
    assert await bench.now(job) == ended
    assert await bench.queue.claim("w", 1, LEASE_S) == []
    assert await bench.queue.cancel_requests("w") == CancelRequests()


async def test_what_runs_or_has_ended_does_not_wait(bench: Bench) -> None:
    await bench.job()
    (job,) = await bench.queue.claim("w", 1, LEASE_S)
    for _ in range(2):
        async with bench.transaction() as connection:
            assert await bench.queue.end_queued(connection, job.id, END) is None
        async with bench.transaction() as connection:
            await bench.queue.end_held(connection, job, END)
    assert (await bench.now(job)).attempt == 1


async def test_ending_what_is_held(bench: Bench) -> None:
    await bench.job()
    (job,) = await bench.queue.claim("w", 1, LEASE_S)
    async with bench.transaction() as connection:
        assert await bench.queue.end_held(connection, job, END)
    now = await bench.now(job)
    assert (now.status, now.finished_at, now.lease_until_at) == ("cancelled", 7, None)
    async with bench.transaction() as connection:
        assert not await bench.queue.end_held(connection, job, END), "it ends once"


async def test_only_the_attempt_that_is_held_ends(bench: Bench) -> None:
    await bench.job()
    (job,) = await bench.queue.claim("w", 1, LEASE_S)
    await bench.queue.give_back(job, delay_s=0, outcome="lost", message=None)
    (again,) = await bench.queue.claim("w", 1, LEASE_S)
    async with bench.transaction() as connection:
        assert not await bench.queue.end_held(connection, job, END)
    assert await bench.now(job) == again


async def test_those_that_wait_are_counted_by_team_and_by_key(bench: Bench) -> None:
    for owner in ("a/one", "a/one", "a/two", "b/one"):
        await bench.job(owner)
    await bench.queue.claim("w", 1, LEASE_S)
    shares = [Share("team", f"team_{name}", 9) for name in "abc"]
    shares += [Share("key", f"key_{name}", 9) for name in ("one", "two")]
    async with bench.transaction() as connection:
        counts = [await bench.queue.waiting(connection, share) for share in shares]
    assert counts == [2, 1, 0, 2, 1]


async def test_workers_come_and_go(bench: Bench) -> None:
    workers = bench.queue.workers
    assert await workers.enter("w1", node="n1", concurrency=3) == []
    assert await workers.enter("w2", node="n2", concurrency=1) == []
    await bench.job()
    await bench.queue.claim("w1", 1, LEASE_S)
    first, second = await workers.living(LEASE_S)
    assert (first.id, first.node, first.concurrency, first.running) == ("w1", "n1", 3, 1)
    assert (second.id, second.running, second.started_at) == ("w2", 0, second.seen_at)
    assert await workers.count(LEASE_S) == 2
    await workers.leave(["w1"])
    assert [worker.id for worker in await workers.living(LEASE_S)] == ["w2"]


async def test_a_worker_of_the_same_node_is_dead(bench: Bench) -> None:
    workers = bench.queue.workers
    await workers.enter("w1", node="n1", concurrency=1)
    assert await workers.enter("w2", node="n1", concurrency=1) == ["w1"]


async def test_silent_workers_are_forgotten(bench: Bench) -> None:
    workers = bench.queue.workers
    for name in ("living", "silent"):
        await workers.enter(name, node=name, concurrency=1)
    await asyncio.sleep(0.02)
    await workers.seen("living", forget_s=3600)
    (silent,) = [worker for worker in await workers.living(LEASE_S) if worker.id == "silent"]
    (living,) = [worker for worker in await workers.living(LEASE_S) if worker.id == "living"]
    assert living.seen_at > living.started_at
    assert silent.seen_at == silent.started_at
    await workers.seen("living", forget_s=0.001)
    assert [worker.id for worker in await workers.living(LEASE_S)] == ["living"]


async def test_giving_back(bench: Bench) -> None:
    await bench.job()
    (job,) = await bench.queue.claim("w", 1, LEASE_S)
    assert await bench.queue.give_back(job, delay_s=0, outcome="given_back", message="why")
    (again,) = await bench.queue.claim("x", 1, LEASE_S)
    assert (again.id, again.attempt, again.losses, again.failures) == (job.id, 2, 0, 0)
    assert not await bench.queue.give_back(job, delay_s=0, outcome="lost", message="too late"), (
        "that attempt is not w's any more"
    )
    assert (await bench.now(job)).worker_id == "x"


async def test_losses_and_failures_are_counted_apart(bench: Bench) -> None:
    await bench.job()
    for outcome, losses, failures in (
        ("lost", 1, 0),
        ("failed", 1, 1),
        ("timed_out", 1, 2),
        ("given_back", 1, 2),
        ("lost", 2, 2),
    ):
        (job,) = await bench.queue.claim("w", 1, LEASE_S)
        await bench.queue.give_back(job, delay_s=0, outcome=outcome, message=None)
        now = await bench.now(job)
        assert (now.losses, now.failures) == (losses, failures)


async def test_a_delay_is_kept(bench: Bench) -> None:
    await bench.job()
    (job,) = await bench.queue.claim("w", 1, LEASE_S)
    await bench.queue.give_back(job, delay_s=3600, outcome="failed", message=None)
    assert await bench.queue.claim("w", 1, LEASE_S) == []
    assert (await bench.queue.depth()).oldest_s == 0.0, "what may not start yet is not late"


async def test_a_delay_ends(bench: Bench) -> None:
    await bench.job()
    (job,) = await bench.queue.claim("w", 1, LEASE_S)
    await bench.queue.give_back(job, delay_s=0.1, outcome="failed", message=None)
    async with asyncio.timeout(PATIENCE_S):
        while not (claimed := await bench.queue.claim("w", 1, LEASE_S)):  # noqa: ASYNC110  nothing tells of a delay's end
            await asyncio.sleep(0.02)
    assert [again.id for again in claimed] == [job.id]


async def test_renewing_keeps_and_silence_loses(bench: Bench) -> None:
    for _ in range(2):
        await bench.job()
    (kept,) = await bench.queue.claim("living", 1, LEASE_S)
    (left,) = await bench.queue.claim("silent", 1, LEASE_S)
    await bench.expire_leases()
    assert set(await bench.queue.renew("living", LEASE_S, [kept.id, left.id])) == {kept.id}
    assert (await bench.queue.reclaim(losses=3)).requeued == (left.id,)
    assert set(await bench.queue.renew("silent", LEASE_S, [left.id])) == set()
    (again,) = await bench.queue.claim("living", 1, LEASE_S)
    assert (again.id, again.attempt, again.losses) == (left.id, 2, 1)


async def test_what_a_worker_does_not_know_of_is_not_renewed(bench: Bench) -> None:
    for _ in range(2):
        await bench.job()
    known, unknown = await bench.queue.claim("w", 2, LEASE_S)
    await bench.expire_leases()
    assert set(await bench.queue.renew("w", LEASE_S, [known.id])) == {known.id}
    assert (await bench.queue.reclaim(losses=3)).requeued == (unknown.id,)


async def test_the_dead_need_not_be_waited_for(bench: Bench) -> None:
    for _ in range(3):
        await bench.job()
    claimed = await bench.queue.claim("dead", 2, LEASE_S)
    await bench.queue.claim("living", 1, LEASE_S)
    assert (await bench.queue.reclaim(losses=3)).requeued == ()
    assert set((await bench.queue.reclaim(losses=3, workers=["dead"])).requeued) == {
        job.id for job in claimed
    }


async def test_lost_once_too_often(bench: Bench) -> None:
    await bench.job()
    for loss in range(3):
        (job,) = await bench.queue.claim("w", 1, LEASE_S)
        assert job.losses == loss
        reclaimed = await bench.queue.reclaim(losses=2, workers=["w"])
        if loss < 2:
            assert reclaimed.requeued == (job.id,)
    assert reclaimed.requeued == ()
    (exhausted,) = reclaimed.exhausted
    assert (exhausted.id, exhausted.losses, exhausted.status) == (job.id, 3, "running")
    assert await bench.queue.claim("x", 1, LEASE_S) == [], "it is not handed out any more"


async def test_waiting_ends_with_news(bench: Bench) -> None:
    assert await bench.queue.claim("w", 1, LEASE_S) == []
    waiting = asyncio.create_task(bench.queue.wait(3600))
    await asyncio.sleep(0.01)
    await bench.job()
    await asyncio.wait_for(waiting, PATIENCE_S)
    assert len(await bench.queue.claim("w", 1, LEASE_S)) == 1


async def test_depth(bench: Bench) -> None:
    depth = await bench.queue.depth()
    assert (depth.queued, depth.running, depth.oldest_s) == (0, 0, 0.0)
    begun = time.time()
    for _ in range(3):
        await bench.job()
    await bench.queue.claim("w", 1, LEASE_S)
    await asyncio.sleep(0.02)
    depth = await bench.queue.depth()
    assert (depth.queued, depth.running) == (2, 1)
    assert depth.counts == {("queued", "bash"): 2, ("running", "bash"): 1}
    assert 0.02 <= depth.oldest_s <= time.time() - begun


async def test_all_jobs_of_a_key_are_to_be_cancelled(bench: Bench) -> None:
    first, second = await bench.job("a/held"), await bench.job("a/held")
    third, mate = await bench.job("b/held"), await bench.job("b/other")
    assert {job.id for job in await bench.queue.claim("w", 2, LEASE_S)} == {first.id, third.id}
    for running, held in ((False, set()), (True, {first.id, third.id})):
        async with bench.transaction() as connection:
            asked = await bench.queue.request_cancel_of(connection, "key_held", running=running)
        assert (asked.queued, set(asked.held)) == ((second.id,), held)
        requests = await bench.queue.cancel_requests("w")
        assert (requests.queued, set(requests.held)) == ((second.id,), held)
    assert [job.id for job in await bench.queue.claim("w", 9, LEASE_S)] == [mate.id]

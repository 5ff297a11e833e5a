"""Hostile tenants: ten ways in which one takes all that there is, and what it costs another.

Of each row it is also to hold that another tenant waits at most twice as long as alone with half the
workers, in the middle and at worst. Half a second is allowed for what a busy machine adds, see
`arena.ALLOWANCE_S`.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.attack import ways
from tests.attack.arena import Arena, opened
from tests.attack.rows import Row
from tests.attack.two_tenants import ON_VMS
from tests.e2e.package_index import PackageIndex, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from emberbox.images import ImageStore
    from tests.attack.arena import Outcome

    Record = Callable[[str, object], None]

TRIES = 3
"""A way that harms does so each time; one that a busy machine disturbs, not in all of them."""
_HERE = "attack/tenants.py::test"
_NO_PLACES = {"EMBERBOX_QUOTA_WORKER_SHARE": "1"}
_NO_ORDER = {**_NO_PLACES, "EMBERBOX_QUOTA_PRIORITY": "10"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way, and what is to hold it.

    Args:
        run: Measures it.
        tried: What is done, as in the table.
        holds: What is to hold, besides the other's wait.
        without: Settings that switch that off.
        settings: Settings that make the way short.
        share: The most that may get through, where the way counts that; None where it is told by the
            other's wait alone.
        on_vms: Whether it needs real VMs.
    """

    run: Callable[[Arena], Awaitable[Outcome]]
    tried: str
    holds: str
    without: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    share: int | None = None
    on_vms: bool = False

    def harms(self, outcome: Outcome) -> bool:
        """Tell whether the other waited too long, or more got through than may."""
        return not outcome.bearable or (self.share is not None and outcome.through > self.share)


WAYS = {
    "priority": Way(
        run=ways.priority,
        tried="200 jobs at the highest priority",
        holds="a priority orders its own team's jobs alone",
        without=_NO_ORDER,
    ),
    "sleepers": Way(
        run=ways.sleepers,
        tried="50 programs that sleep for as long as they may",
        holds="they have half of the places",
        without=_NO_PLACES,
    ),
    "floods": Way(
        run=ways.floods,
        tried="jobs as fast as they are answered",
        holds="teams take turns",
        without=_NO_ORDER,
    ),
    "bodies": Way(
        run=ways.bodies,
        tried="60 bodies of 8 MiB that come but for their last byte",
        holds="eight have a place, the others are refused",
        without={
            "EMBERBOX_QUOTA_BODY_BYTES": "0",
            "EMBERBOX_QUOTA_OPEN_BODIES": "0",
            "EMBERBOX_CEILING_BODY_BYTES": "0",
            "EMBERBOX_CEILING_OPEN_BODIES": "0",
        },
        share=8,
    ),
    "streams": Way(
        run=ways.streams,
        tried="400 streams of one job's log",
        holds="250 have a place, the others are refused",
        without={"EMBERBOX_QUOTA_FOLLOWERS": "0", "EMBERBOX_SERVER_FOLLOWERS": "0"},
        share=250,
    ),
    "sizes": Way(
        run=ways.sizes,
        tried="100 jobs, each of another size of VMs",
        holds="what makes templates has half of the places",
        without=_NO_PLACES,
        on_vms=True,
    ),
    "builds": Way(
        run=ways.builds,
        tried="100 jobs, each with packages of its own",
        holds="what waits for a build VM has half of the places",
        without=_NO_PLACES,
        on_vms=True,
    ),
    "artifacts": Way(
        run=ways.artifacts,
        tried="jobs that leave 20 MiB behind, again and again",
        holds="no more than the team's bytes are kept",
        without={"EMBERBOX_QUOTA_STORAGE_BYTES": "0"},
        settings={"EMBERBOX_QUOTA_STORAGE_BYTES": str(50 * ways.MIB)},
        share=50,
    ),
    "uploads": Way(
        run=ways.uploads,
        tried="archives that expand to 20 MiB, eight at a time",
        holds="they are opened one after the other, and no more than the team's bytes are kept",
        without={"EMBERBOX_QUOTA_STORAGE_BYTES": "0"},
        settings={"EMBERBOX_QUOTA_STORAGE_BYTES": str(50 * ways.MIB)},
        share=2,
    ),
    "webhooks": Way(
        run=ways.webhooks,
        tried="news of 100 jobs for receivers that never answer",
        holds="a team has half of what is told at once",
        without={"EMBERBOX_WEBHOOKS_CONCURRENCY": "1"},
    ),
}

ROWS = tuple(
    Row(
        name=f"tenant's {name}",
        tried=way.tried,
        holds=way.holds,
        tests=(f"{_HERE}_another_tenant_waits_no_longer[{name}]",),
        control=(f"{_HERE}_without_the_share[{name}]",),
    )
    for name, way in WAYS.items()
)


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Look for nothing between two tests: the service of who works alone lives through all of them."""


@pytest_asyncio.fixture(scope="module")
async def on_host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Arena]:
    async with opened(tmp_path_factory.mktemp("on-host")) as arena:
        yield arena


@pytest_asyncio.fixture(scope="module")
async def on_vms(
    tmp_path_factory: pytest.TempPathFactory, data_folder: Path, images: ImageStore
) -> AsyncIterator[Arena]:
    """Return an arena whose build VMs ask for packages on this machine, where there are none."""
    folder = tmp_path_factory.mktemp("on-vms")
    with served(PackageIndex()) as index:
        async with opened(folder, ON_VMS, data_folder / "images") as arena:
            yield replace(arena, settings={"EMBERBOX_PACKAGES_PIP_INDEX": index.address})


Measure = Callable[..., Awaitable["Outcome"]]


@pytest.fixture
def measured(name: str, request: pytest.FixtureRequest, tmp_path: Path, record_property: Record) -> Measure:
    """Return what measures a way once, with settings besides its own, and records its figures."""
    way, numbers = WAYS[name], itertools.count(1)
    arena: Arena = request.getfixturevalue("on_vms" if way.on_vms else "on_host")

    async def measure(**more: str) -> Outcome:
        number = next(numbers)
        settings = {**arena.settings, **way.settings, **more}
        outcome = await way.run(replace(arena, folder=tmp_path / str(number), settings=settings))
        record_property(f"({number})", str(outcome))
        return outcome

    return measure


@pytest.mark.parametrize("name", WAYS)
async def test_another_tenant_waits_no_longer(name: str, measured: Measure) -> None:
    outcomes = []
    for _ in range(TRIES):
        outcomes.append(await measured())
        if not WAYS[name].harms(outcomes[-1]):
            return
    pytest.fail("\n".join(map(str, outcomes)))


@pytest.mark.parametrize("name", WAYS)
async def test_without_the_share(name: str, measured: Measure) -> None:
    outcome = await measured(**WAYS[name].without)
    assert WAYS[name].harms(outcome), outcome

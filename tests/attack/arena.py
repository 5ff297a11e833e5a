"""A real service process with two tenants: one who works, and one who does its worst."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence

ROOT = Path(__file__).parents[2]
WORKERS = 4
"""Jobs at once of the service under attack; half of them for who works alone."""
ON_HOST = ("-m", "tests.integration.serve_on_host")
"""Programs are plain processes of this host: for all in which the VM does not matter."""
ON_VMS = ("-m", "emberbox.cli.main", "serve")
"""Programs are in microVMs."""
MOST = 2.0
"""What is promised: how many times longer an attack may make a wait."""
ALLOWANCE_S = 0.5
"""Added to that: what a busy machine makes of a wait that is short."""
GIVEN_UP, GIVEN_UP_S = 4.0, 10.0
"""A load is given up when it takes so many times as long as alone, and so many seconds."""
_UNANSWERED_S = 15.0
"""An attack that is not answered for so long is in force all the same."""
CONNECTIONS = httpx.Limits(max_connections=None, max_keepalive_connections=50)


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a tenant waited for each of its things, in seconds."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        """The wait in the middle."""
        return statistics.median(self.seconds)

    @property
    def worst(self) -> float:
        """The longest wait."""
        return max(self.seconds)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way of attacking did.

    Args:
        way: Its name.
        alone: The waits with half the workers, and nobody else there.
        attacked: The waits for the same load under attack.
        answers: What the attacker was answered: how often each status.
        through: How much of what a share bounds the attacker got, as the way counts it.
    """

    way: str
    alone: Waits
    attacked: Waits
    answers: Counter[int] = field(default_factory=Counter)
    through: int = 0

    @property
    def factors(self) -> tuple[float, float]:
        """How many times longer the attack made the median and the worst wait."""
        return self.attacked.median / self.alone.median, self.attacked.worst / self.alone.worst

    @property
    def bearable(self) -> bool:
        """Whether the other's waits were at most twice as long, and the allowance."""
        pairs = ((self.alone.median, self.attacked.median), (self.alone.worst, self.attacked.worst))
        return all(attacked <= MOST * alone + ALLOWANCE_S for alone, attacked in pairs)

    def __str__(self) -> str:
        median, worst = self.factors
        answers = " ".join(f"{count}x{status}" for status, count in sorted(self.answers.items()))
        return (
            f"{self.way}: alone {self.alone.median:.2f} / {self.alone.worst:.2f} s; attacked "
            f"{self.attacked.median:.2f} / {self.attacked.worst:.2f} s; x {median:.2f} / {worst:.2f}; "
            f"through {self.through}; answers {answers}"
        )


class Tenant:
    """One team with a key.

    Args:
        url: The service's.
        secret: The key's.
    """

    def __init__(self, url: str, secret: str) -> None:
        self.url = url
        self.secret = secret
        self.answers: Counter[int] = Counter()
        self.through = 0
        self.http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {secret}"},
            timeout=PATIENCE_S,
            limits=CONNECTIONS,
        )

    async def ask(self, method: str, path: str, **options: object) -> httpx.Response:
        """Make one request and count its answer."""
        answer = await self.http.request(method, path, **options)  # type: ignore[arg-type]
        self.answers[answer.status_code] += 1
        return answer

    async def submit(self, code: str, **options: object) -> httpx.Response:
        """Submit a job of the shell."""
        return await self.ask("POST", "/v1/jobs", json={"runtime": "bash", "code": code, **options})

    async def run(self, code: str, **options: object) -> dict[str, object]:
        """Run a job of the shell to its end, which must be a good one; returns it."""
        answer = await self.submit(code, **options)
        if answer.status_code != 202:
            raise RuntimeError(f"refused: {answer.text}")
        job: dict[str, object] = answer.json()
        async with asyncio.timeout(PATIENCE_S):
            while job["status"] in ("queued", "running"):
                job = (await self.ask("GET", f"/v1/jobs/{job['id']}", params={"wait": 60})).json()
        if job["status"] != "succeeded":
            raise RuntimeError(f"a job ended as {job['status']}: {job['message']}")
        return job


@dataclass(frozen=True, slots=True)
class Arena:
    """Where attacks are measured.

    Args:
        folder: Gets the data of the services under attack.
        alone: Who works at a service of half as many workers, where nobody else is.
        program: How a service is started: `ON_HOST` or `ON_VMS`.
        settings: Of the services under attack, as environment variables.
        images: Where the images of VMs lie; None without VMs.
    """

    folder: Path
    alone: Tenant
    program: Sequence[str]
    settings: Mapping[str, str]
    images: Path | None

    async def compare(
        self,
        way: str,
        load: Callable[[Tenant], Awaitable[Sequence[float]]],
        attack: Callable[[Tenant], Coroutine[None, None, None]],
    ) -> Outcome:
        """Measure a load alone with half the workers, and then under attack.

        Args:
            way: The attack's name.
            load: Does the good tenant's work, and returns its waits in seconds.
            attack: Attacks until it is cancelled. It is in force a second after its first answer.
        """
        data = self.folder / way
        async with _service(data, self.program, self.images, self.settings, attacked=True) as (good, bad):
            begun = time.monotonic()
            alone = Waits(await load(self.alone))
            alone_s = time.monotonic() - begun
            attacking = asyncio.create_task(attack(bad), name=f"attack-{way}")
            try:
                await _in_force(bad, attacking)
                attacked = await _endured(load(good), GIVEN_UP * alone_s + GIVEN_UP_S)
            finally:
                attacking.cancel()
                await asyncio.gather(attacking, return_exceptions=True)
        return Outcome(way, alone, attacked, bad.answers, bad.through)


@contextlib.asynccontextmanager
async def opened(
    folder: Path, program: Sequence[str] = ON_HOST, images: Path | None = None
) -> AsyncIterator[Arena]:
    """Run the service of who works alone; yields the arena of all that is measured beside it."""
    async with _service(folder / "alone", program, images, attacked=False) as (good, _):
        yield Arena(folder, good, program, {}, images)


@contextlib.asynccontextmanager
async def _service(
    data: Path,
    program: Sequence[str],
    images: Path | None,
    settings: Mapping[str, str] | None = None,
    *,
    attacked: bool,
) -> AsyncIterator[tuple[Tenant, Tenant]]:
    """Run a service; yields who works, of its first team, and who attacks, of another if it is attacked.

    A job of the first has ended: the template that all jobs need is there.
    """
    data.mkdir(parents=True)
    if images is not None:
        (data / "images").symlink_to(images)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(*program, "--port", "0", "--data", str(data)),
        cwd=ROOT,
        env=_environment(data, WORKERS if attacked else WORKERS // 2, settings or {}),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        url = await _announced(data, process)
        async with contextlib.AsyncExitStack() as stack:
            operator = Tenant(url, (data / "admin.key").read_text().strip())
            stack.push_async_callback(operator.http.aclose)
            good = Tenant(url, await _key(operator, None))
            stack.push_async_callback(good.http.aclose)
            await good.run("true")
            bad = good
            if attacked:
                bad = Tenant(url, await _key(operator, "attackers"))
                stack.push_async_callback(bad.http.aclose)
            yield good, bad
    finally:
        await _ended(process)


def _environment(data: Path, workers: int, settings: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("EMBERBOX_")}
    empty = data.parent / "no-settings.toml"
    empty.touch()
    return {
        **own,
        "EMBERBOX_CONFIG": str(empty),
        "EMBERBOX_WORKER_CONCURRENCY": str(workers),
        "EMBERBOX_WORKER_DRAIN_S": "0",
        "EMBERBOX_WEBHOOKS_ALLOW_PRIVATE": "true",
        **settings,
    }


async def _announced(data: Path, process: asyncio.subprocess.Process) -> str:
    """Wait until a service says where it is."""
    async with asyncio.timeout(PATIENCE_S):
        while process.returncode is None:
            with contextlib.suppress(FileNotFoundError, ValueError):
                about = json.loads((data / "service.json").read_text())
                if about["pid"] == process.pid:
                    return str(about["url"])
            await asyncio.sleep(0.05)
    raise RuntimeError(f"the service ended with {process.returncode} before it served")


async def _key(operator: Tenant, team: str | None) -> str:
    body: dict[str, object] = {"name": "tenant", "scopes": ["run"]}
    if team is not None:
        made = await operator.ask("POST", "/v1/teams", json={"name": team})
        body["team_id"] = made.raise_for_status().json()["id"]
    answer = (await operator.ask("POST", "/v1/keys", json=body)).raise_for_status()
    return str(answer.json()["secret"])


async def _endured(load: Awaitable[Sequence[float]], bound_s: float) -> Waits:
    """Return the waits of a load that is under attack; where it is given up, one that is as long as that."""
    try:
        async with asyncio.timeout(bound_s):
            return Waits(await load)
    except TimeoutError:
        return Waits([bound_s])


async def _in_force(bad: Tenant, attacking: asyncio.Task[None]) -> None:
    """Wait until the attack has been answered, unless it is not, and has had a moment to spread."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_UNANSWERED_S):
            while not bad.answers and not attacking.done():  # noqa: ASYNC110  nothing tells of an attack's beginning
                await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    if attacking.done():
        attacking.result()


async def _ended(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(30):
                    await process.wait()


async def timed(work: Awaitable[object]) -> float:
    """Return how long something took, in seconds."""
    begun = time.monotonic()
    await work
    return time.monotonic() - begun

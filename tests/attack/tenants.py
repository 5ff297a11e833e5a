"""Two tenants: one does its worst in ten ways, and the other's wait is measured beside it.

`python -m tests.attack.tenants` measures them all, `… tenants priority bodies` some of them. What is
promised: under attack the other waits at most twice as long as with half the workers and nobody else.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from tests.attack.arena import Arena, Outcome, Tenant, timed
from tests.attack.receivers import receivers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

JOBS = 12
"""Jobs of the good tenant's load."""
JOB = "sleep 0.3"
BOUND_S = 600.0
"""Longest time of one way."""
MIB = 1024 * 1024
_T = TypeVar("_T")


async def priority(arena: Arena) -> Outcome:
    """200 jobs at the highest priority: they order the attacker's own jobs alone."""

    async def attack(bad: Tenant) -> None:
        await together(*(bad.submit(JOB, priority=10) for _ in range(200)), at_once=20)
        await forever()

    return await arena.compare("priority", jobs, attack)


async def sleepers(arena: Arena) -> Outcome:
    """50 programs that sleep for minutes: they take no more than the attacker's half of the places."""

    async def attack(bad: Tenant) -> None:
        await together(*(bad.submit("sleep 600") for _ in range(50)), at_once=20)
        await forever()

    return await arena.compare("sleepers", jobs, attack)


async def floods(arena: Arena) -> Outcome:
    """Jobs as fast as they are answered, 12,000 at most: what may wait is bounded, and teams take turns."""

    async def attack(bad: Tenant) -> None:
        await together(*(bad.submit("true") for _ in range(12_000)), at_once=30)
        await forever()

    return await arena.compare("floods", jobs, attack)


async def bodies(arena: Arena) -> Outcome:
    """200 requests whose bodies of 8 MiB come but for their last byte."""

    async def attack(bad: Tenant) -> None:
        await together(*(stalled(bad, 8 * MIB) for _ in range(200)))

    async def load(good: Tenant) -> Sequence[float]:
        padded = f"{JOB} #{'x' * 100_000}"
        return await together(*(timed(good.run(padded)) for _ in range(JOBS)))

    return await arena.compare("bodies", load, attack)


async def streams(arena: Arena) -> Outcome:
    """400 streams that follow one job that sleeps, against streams that follow others to their end."""

    async def attack(bad: Tenant) -> None:
        job = (await bad.submit("sleep 600")).json()["id"]

        async def follow() -> None:
            async with bad.http.stream("GET", f"/v1/jobs/{job}/logs", params={"follow": "true"}) as answer:
                bad.answers[answer.status_code] += 1
                async for _ in answer.aiter_bytes():
                    pass

        await together(*(follow() for _ in range(400)))
        await forever()

    async def load(good: Tenant) -> Sequence[float]:
        async def followed() -> None:
            job = (await good.submit(f"echo begun; {JOB}; echo ended")).raise_for_status().json()["id"]
            path = f"/v1/jobs/{job}/logs"
            async with good.http.stream("GET", path, params={"follow": "true", "format": "text"}) as answer:
                text = await answer.raise_for_status().aread()
            if text != b"begun\nended\n":
                raise RuntimeError(f"a stream ended early: {text!r}")

        return await together(*(timed(followed()) for _ in range(JOBS)))

    return await arena.compare("streams", load, attack)


async def sizes(arena: Arena) -> Outcome:
    """100 jobs, each in a VM of another size, which has no template yet."""

    async def attack(bad: Tenant) -> None:
        asked = (bad.submit(JOB, memory_mib=128 + 8 * number) for number in range(100))
        await together(*asked, at_once=20)
        await forever()

    return await arena.compare("sizes", jobs, attack)


async def builds(arena: Arena) -> Outcome:
    """100 jobs, each with another list of packages, which a build VM has to install."""

    async def attack(bad: Tenant) -> None:
        def listed(number: int) -> dict[str, object]:
            names = f"emberbox-no-such-package-{number}\n"
            return {
                "runtime": "python",
                "entry": "main.py",
                "files": {"requirements.txt": names, "main.py": ""},
            }

        asked = (bad.ask("POST", "/v1/jobs", json=listed(number)) for number in range(100))
        await together(*asked, at_once=20)
        await forever()

    return await arena.compare("builds", jobs, attack)


async def artifacts(arena: Arena) -> Outcome:
    """Jobs that leave as much behind as may be kept, and are submitted again as they end."""

    async def attack(bad: Tenant) -> None:
        async def again() -> None:
            for _ in range(50):
                await bad.run("head -c 60000000 /dev/zero >a.bin", artifacts=["*.bin"])

        await together(*(again() for _ in range(8)))

    async def load(good: Tenant) -> Sequence[float]:
        async def kept() -> None:
            job = await good.run(f"{JOB}; echo kept >kept.txt", artifacts=["kept.txt"])
            listed = job["artifacts"]
            if not isinstance(listed, list) or len(listed) != 1:
                raise RuntimeError(f"the artifact was not kept: {job['message']}")
            path = f"/v1/jobs/{job['id']}/artifacts/{listed[0]['id']}"
            (await good.ask("GET", path)).raise_for_status()

        return await together(*(timed(kept()) for _ in range(JOBS)))

    return await arena.compare("artifacts", load, attack)


async def uploads(arena: Arena) -> Outcome:
    """Archives that expand to 60 MiB, eight at a time, against small scripts."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("main.sh", "true\n")
        archive.writestr("data.bin", os.urandom(MIB) + bytes(59 * MIB))

    async def attack(bad: Tenant) -> None:
        async def again() -> None:
            for _ in range(100):
                await bad.ask("POST", "/v1/scripts", files={"file": ("a.zip", packed.getvalue())})

        await together(*(again() for _ in range(8)))

    async def load(good: Tenant) -> Sequence[float]:
        async def one(number: int) -> None:
            script = f"{JOB} #{number}".encode()
            answer = await good.ask("POST", "/v1/scripts", files={"file": ("main.sh", script)})
            answer.raise_for_status()

        return [await timed(one(number)) for number in range(JOBS)]

    return await arena.compare("uploads", load, attack)


async def webhooks(arena: Arena) -> Outcome:
    """News of 100 jobs for receivers that never answer, at 20 addresses, against news for one that does."""
    async with receivers() as receiver:
        hosts = itertools.cycle(f"127.0.1.{number}" for number in range(1, 21))

        async def attack(bad: Tenant) -> None:
            def hook() -> dict[str, str]:
                return {"url": f"http://{next(hosts)}:{receiver.silent_port}/"}

            await together(*(bad.submit("true", webhook=hook()) for _ in range(100)), at_once=20)
            await forever()

        async def load(good: Tenant) -> Sequence[float]:
            async def told() -> float:
                hook = {"url": f"http://127.0.0.1:{receiver.port}/"}
                job = await good.run(JOB, webhook=hook)
                ended = time.monotonic()
                await receiver.heard_of(str(job["id"]))
                return time.monotonic() - ended + 0.3

            return await together(*(told() for _ in range(JOBS)))

        return await arena.compare("webhooks", load, attack)


WAYS: dict[str, Callable[[Arena], Awaitable[Outcome]]] = {
    way.__name__: way
    for way in (priority, sleepers, floods, bodies, streams, sizes, builds, artifacts, uploads, webhooks)
}
"""Every way, by its name."""


async def jobs(good: Tenant) -> Sequence[float]:
    """The usual load: jobs that are submitted at once; returns how long each took to its end."""
    return await together(*(timed(good.run(JOB)) for _ in range(JOBS)))


async def together(*works: Coroutine[None, None, _T], at_once: int = 1000) -> list[_T]:
    """Do things at once, but no more than so many at a time."""
    places = asyncio.Semaphore(at_once)

    async def one(work: Coroutine[None, None, _T]) -> _T:
        async with places:
            return await work

    return await asyncio.gather(*(one(work) for work in works))


async def forever() -> None:
    """Wait to be cancelled."""
    await asyncio.Event().wait()


async def stalled(bad: Tenant, size: int) -> None:
    """Open a request whose body comes but for its last byte, and count its answer, if one comes."""
    where = urlsplit(bad.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {bad.secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    )
    try:
        writer.write(head.encode() + b" " * (size - 1))
        line = await reader.readline()
        bad.answers[int(line.split()[1]) if line else 0] += 1
    except ConnectionError:
        bad.answers[0] += 1
    finally:
        writer.close()


async def measured(names: Sequence[str], folder: Path) -> list[Outcome]:
    """Measure ways one after the other; each is bounded in time. Prints each as it ends."""
    outcomes = []
    for name in names:
        async with asyncio.timeout(BOUND_S):
            outcomes.append(await WAYS[name](Arena(folder / name)))
        sys.stdout.write(f"{outcomes[-1]}\n")
        sys.stdout.flush()
    return outcomes


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="emberbox-attack-") as scratch:
        asyncio.run(measured(sys.argv[1:] or list(WAYS), Path(scratch)))

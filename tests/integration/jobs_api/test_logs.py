"""Reading logs: as entries and as text."""

from __future__ import annotations

import asyncio
import base64
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.schemas.jobs import LogPage
from tests.integration.jobs_api.speaking import ended, problem, run, submit, until, until_running

if TYPE_CHECKING:
    import httpx

    from emberbox.service.service import Service

BOTH = """
import sys
for n in range(3):
    print(f'out {n} é', flush=True); sys.stdin.readline()
    print(f'err {n}', file=sys.stderr, flush=True); sys.stdin.readline()
sys.stdout.buffer.write(b'\\xff\\xfe end')
"""
WHOLE = "out 0 é\nerr 0\nout 1 é\nerr 1\nout 2 é\nerr 2\n".encode() + b"\xff\xfe end"


async def text(client: httpx.AsyncClient, job_id: str, **params: Any) -> bytes:
    answer = await client.get(f"/v1/jobs/{job_id}/logs", params={"format": "text", **params})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    return answer.content


async def page(client: httpx.AsyncClient, job_id: str, **params: Any) -> LogPage:
    answer = await client.get(f"/v1/jobs/{job_id}/logs", params=params)
    assert answer.status_code == 200, answer.text
    return LogPage.model_validate(answer.json())


async def _has_entries(client: httpx.AsyncClient, job_id: str, count: int) -> bool:
    return len((await page(client, job_id)).entries) >= count


async def test_entries_and_text(app_client: httpx.AsyncClient, service: Service) -> None:
    job = (await submit(app_client, BOTH, interactive=True))["id"]
    await until_running(app_client, job)
    live = service.live.get(job)
    assert live is not None
    for count in range(
        1, 7
    ):  # what is written to two streams has an order only where each waits for the one before
        await until(partial(_has_entries, app_client, job, count))
        await live.write_stdin(b"\n")
    await ended(app_client, job)
    whole = await page(app_client, job)
    assert (whole.complete, whole.next) == (True, None)
    assert "".join(e.data for e in whole.entries) == WHOLE.decode("utf-8", "replace")
    assert [e.time for e in whole.entries] == sorted(e.time for e in whole.entries)
    binary = await page(app_client, job, encoding="base64")
    assert b"".join(base64.b64decode(e.data) for e in binary.entries) == WHOLE
    errors = await page(app_client, job, stream="stderr")
    assert "".join(e.data for e in errors.entries) == "err 0\nerr 1\nerr 2\n"
    assert {e.stream for e in errors.entries} == {"stderr"}

    assert await text(app_client, job) == WHOLE
    assert (
        await text(app_client, job, stream="stdout")
        == "out 0 é\nout 1 é\nout 2 é\n".encode() + b"\xff\xfe end"
    )
    assert base64.b64decode(await text(app_client, job, encoding="base64")) == WHOLE
    assert await text(app_client, job, offset=9, limit=6) == b"err 0\n"
    assert await text(app_client, job, tail=2) == b"err 2\n\xff\xfe end"
    assert await text(app_client, job, tail=0) == b""
    assert await text(app_client, job, tail=2, limit=3) == b"err"
    assert await text(app_client, job, tail=99) == WHOLE
    assert await text(app_client, job, after=whole.entries[0].id) == WHOLE[9:]
    assert await text(app_client, job, after=whole.entries[0].id, tail=1, stream="stderr") == b"err 2\n"


async def test_text_by_the_accept_header(app_client: httpx.AsyncClient) -> None:
    job = (await run(app_client, "print(1)"))["id"]
    plain = await app_client.get(f"/v1/jobs/{job}/logs", headers={"Accept": "text/plain"})
    assert (plain.content, plain.headers["content-type"]) == (b"1\n", "text/plain; charset=utf-8")
    events = await app_client.get(f"/v1/jobs/{job}/logs", headers={"Accept": "text/event-stream"})
    assert events.headers["content-type"] == "text/event-stream; charset=utf-8"
    wins = await app_client.get(
        f"/v1/jobs/{job}/logs", params={"format": "json"}, headers={"Accept": "text/event-stream"}
    )
    assert wins.json()["complete"]


async def test_time_stamps(app_client: httpx.AsyncClient) -> None:
    job = (
        await run(
            app_client,
            "import time; print('a', end='', flush=True); time.sleep(0.05); print('b\\n\\nc', end='')",
        )
    )["id"]
    lines = (await text(app_client, job, timestamps="true")).decode().split("\n")
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z "
    assert [re.sub(f"^{stamp}", "| ", line) for line in lines] == ["| ab", "| ", "| c"]
    assert lines == sorted(lines)
    last = await text(app_client, job, timestamps="true", tail=1)
    assert last.decode() == lines[-1]
    assert base64.b64decode(
        await text(app_client, job, timestamps="true", encoding="base64")
    ).decode() == "\n".join(lines)
    assert (
        await text(app_client, job, timestamps="true", offset=5, limit=7) == "\n".join(lines).encode()[5:12]
    )


async def test_pages_put_together_are_the_log(app_client: httpx.AsyncClient) -> None:
    job = (
        await run(
            app_client,
            "import sys\nfor n in range(3000): print(n, 'ü' * 40, file=(sys.stdout, sys.stderr)[n % 7 == 0])",
        )
    )["id"]
    seen, after, pages = b"", None, 0
    while True:
        params = {"limit": 9000, "encoding": "base64"} | ({"after": after} if after else {})
        part = await page(app_client, job, **params)
        seen += b"".join(base64.b64decode(e.data) for e in part.entries)
        after, pages = part.next, pages + 1
        if after is None:
            break
    assert pages > 3
    assert seen == await text(app_client, job)
    assert len(seen) > 200_000


async def test_a_page_of_many_small_pieces_stays_small(app_client: httpx.AsyncClient) -> None:
    code = "import os, time\nfor n in range(600): os.write(1 + n % 2, b'x'); time.sleep(0.001)"
    job = (await run(app_client, code))["id"]
    entries, pieces, after, pages = 0, 0, None, 0
    while True:
        part = await page(app_client, job, **{"limit": 12_800} | ({"after": after} if after else {}))
        assert len(part.entries) <= 100
        entries += sum(len(entry.data) for entry in part.entries)
        pieces += len(part.entries)
        after, pages = part.next, pages + 1
        if after is None:
            break
    assert entries == 600
    # How many pieces the program's output comes in is the busy host's to decide: some hundred on
    # one that is not.
    assert pages >= -(-pieces // 100)


async def test_the_log_of_a_job_that_runs(app_client: httpx.AsyncClient) -> None:
    job = (
        await submit(
            app_client,
            "import sys\nprint('ready', flush=True); sys.stdin.read(); print('done')",
            interactive=True,
        )
    )["id"]
    await until_running(app_client, job)
    # With a pause between two looks: without one, a busy machine has the key's rate used up.
    while not (part := await page(app_client, job)).entries:
        assert not part.complete
        await asyncio.sleep(0.02)
    assert (part.complete, part.entries[0].data, part.next) == (False, "ready\n", part.entries[0].id)
    assert await text(app_client, job) == b"ready\n"
    assert (await page(app_client, job, after=part.next)).entries == []
    await app_client.post(f"/v1/jobs/{job}/cancel")
    await ended(app_client, job)
    assert (await page(app_client, job, after=part.next)).complete


async def test_the_log_of_a_job_that_waits(app_client: httpx.AsyncClient) -> None:
    job = (await run(app_client, "x"))["id"]
    assert (await page(app_client, job, stream="stdout")).entries == []
    assert await text(app_client, job, stream="stdout") == b""


@pytest.mark.parametrize(
    "params",
    [
        {"after": "x"},
        {"after": "1"},
        {"after": "1.999999"},
        {"after": "1.3"},
        {"after": "7.0"},
        {"limit": "0"},
        {"offset": "-1"},
        {"tail": "-1"},
        {"stream": "stdin"},
        {"format": "xml"},
        {"encoding": "utf-16"},
        {"follow": "perhaps"},
    ],
)
@pytest.mark.parametrize("way", [{}, {"format": "text"}, {"follow": "true"}])
async def test_what_cannot_be_asked(
    app_client: httpx.AsyncClient, params: dict[str, str], way: dict[str, str]
) -> None:
    job = (await run(app_client, "print('abcdefghijklmnopqrstuvwxyz')"))["id"]
    problem(await app_client.get(f"/v1/jobs/{job}/logs", params={**way, **params}), 422, "invalid_input")


FOLLOWED: list[dict[str, str]] = [
    {},
    {"follow": "true"},
    {"format": "text"},
    {"follow": "true", "format": "text"},
]


@pytest.mark.parametrize("options", FOLLOWED)
async def test_an_id_that_never_was_is_refused_before_the_answer_begins(
    app_client: httpx.AsyncClient, service: Service, options: dict[str, str]
) -> None:
    done = (await run(app_client, "print('x')"))["id"]
    whole = (await page(app_client, done)).entries[-1].id
    offset = int(whole.partition(".")[2])
    await service.worker.stop(0)
    waiting = (await submit(app_client, "print()"))["id"]
    beyond = [f"1.{offset + 1}", f"1.{offset - 1}", "1.1", "1.999999999999999", "2.0", "999999999.1"]
    for job, wrong in ((done, beyond), (waiting, ["1.0", "1.5", "2.0"])):
        for after in wrong:
            address, header = f"/v1/jobs/{job}/logs", {"Last-Event-ID": after}
            answer = await app_client.get(address, params={**options, "after": after})
            problem(answer, 422, "invalid_input")
            problem(await app_client.get(address, params=options, headers=header), 422, "invalid_input")
    answer = await app_client.get(f"/v1/jobs/{done}/logs", params={**options, "after": whole})
    assert answer.status_code == 200


async def test_an_id_beyond_a_log_that_grows_is_refused(
    app_client: httpx.AsyncClient, service: Service
) -> None:
    job = (await submit(app_client, "print('x', flush=True); input()", interactive=True))["id"]
    await until(partial(_has_entries, app_client, job, 1))
    last = int((await page(app_client, job)).entries[-1].id.partition(".")[2])
    for after in (f"1.{last + 1}", f"1.{last - 1}", "1.1", "2.0"):
        for options in FOLLOWED:
            answer = await app_client.get(f"/v1/jobs/{job}/logs", params={**options, "after": after})
            problem(answer, 422, "invalid_input")
    live = service.live.get(job)
    assert live is not None
    await live.write_stdin(b"\n")
    await ended(app_client, job)


async def test_who_followed_an_attempt_elsewhere_by_a_wrong_id_begins_anew(
    app_client: httpx.AsyncClient, service: Service
) -> None:
    job = (await run(app_client, "print('x')"))["id"]
    items = [item async for item in service.logs.follow(job, after="1.7")]
    kinds = [type(item).__name__ for item in items]
    assert kinds == ["AttemptBegan", "LogRecord", "JobEnded"]

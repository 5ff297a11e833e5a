"""What is repeated, what is not, and after which pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from emberbox.api.statuses import STATUSES
from emberbox.client import AsyncClient
from emberbox.client.retries import RetryPolicy
from emberbox.errors import (
    Conflict,
    EmberboxError,
    NoSpace,
    NotAuthenticated,
    NotFound,
    QuotaExceeded,
    RateLimited,
    ServerUnreachable,
    ServiceStopping,
    StoreError,
)
from tests.unit.client.conftest import KEY, job_values

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Server:
    """Answers with one thing after the other; the last one goes on."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def refusal(kind: type[EmberboxError], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(STATUSES[kind.code], json={"code": kind.code, "detail": "no"}, headers=named)


JOB = httpx.Response(200, json=job_values())


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("broke off"),
        refusal(StoreError),
        refusal(ServiceStopping),
        refusal(RateLimited, Retry_After="1"),
        httpx.Response(502, content=b"<html>"),
    ],
    ids=lambda failure: (
        type(failure).__name__ if isinstance(failure, Exception) else str(failure.content[:30])
    ),
)
async def test_what_passes_is_tried_again(
    connect: Callable[..., AsyncClient], pauses: list[float], failure: object
) -> None:
    server = Server(failure, failure, JOB)  # type: ignore[arg-type]
    assert (await connect(server).jobs.get("job_01")).ok
    assert (len(server.requests), len(pauses)) == (3, 2)


@pytest.mark.parametrize("kind", [NotFound, Conflict, NoSpace, QuotaExceeded, EmberboxError])
async def test_what_does_not_is_told_at_once(
    connect: Callable[..., AsyncClient], pauses: list[float], kind: type[EmberboxError]
) -> None:
    server = Server(refusal(kind))
    with pytest.raises(kind):
        await connect(server).jobs.get("job_01")
    assert (len(server.requests), pauses) == (1, [])


async def test_it_gives_up_in_the_end(connect: Callable[..., AsyncClient], pauses: list[float]) -> None:
    server = Server(httpx.ConnectError("refused"))
    with pytest.raises(
        ServerUnreachable, match=r"no answer from http://127\.0\.0\.1:1: refused; is `emberbox serve` running"
    ):
        await connect(server, retries=3).jobs.get("job_01")
    assert len(server.requests) == 4
    assert all(0.5 * 0.25 * 2**n <= pause <= 0.25 * 2**n for n, pause in enumerate(pauses))


async def test_a_submission_is_repeated_under_the_same_key(connect: Callable[..., AsyncClient]) -> None:
    server = Server(
        httpx.ReadTimeout("slow"), refusal(StoreError), httpx.Response(202, json=job_values(status="queued"))
    )
    await connect(server).jobs.submit("1", runtime="python")
    keys = {request.headers["Idempotency-Key"] for request in server.requests}
    assert (len(server.requests), len(keys)) == (3, 1)
    await connect(server).jobs.submit("1", runtime="python")
    assert server.requests[-1].headers["Idempotency-Key"] not in keys


@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        (httpx.ReadTimeout("slow"), 1),
        (refusal(StoreError), 1),
        (httpx.ConnectError("refused"), 2),
        (refusal(RateLimited), 2),
        (refusal(ServiceStopping), 2),
    ],
)
async def test_what_may_have_been_done_is_not_done_again(
    connect: Callable[..., AsyncClient], failure: httpx.Response | Exception, tries: int
) -> None:
    server = Server(failure, JOB)
    try:
        await connect(server).jobs.rerun("job_01")
    except EmberboxError:
        assert tries == 1
    assert len(server.requests) == tries


async def test_the_server_says_when(connect: Callable[..., AsyncClient], pauses: list[float]) -> None:
    server = Server(refusal(RateLimited, Retry_After="7"), JOB)
    await connect(server).jobs.get("job_01")
    assert 7 <= pauses[0] <= 7.25


async def test_a_server_that_asks_for_too_long_is_not_waited_for(
    connect: Callable[..., AsyncClient], pauses: list[float]
) -> None:
    server = Server(refusal(RateLimited, Retry_After="3600"), JOB)
    with pytest.raises(RateLimited) as raised:
        await connect(server).jobs.get("job_01")
    assert (raised.value.retry_after_s, pauses) == (3600, [])


def test_pauses_grow_up_to_their_bound() -> None:
    policy = RetryPolicy(retries=20)
    error = ServerUnreachable("x")
    pauses = [[policy.pause_s(error, tried, safe=True) or 0 for _ in range(200)] for tried in range(1, 8)]
    bounds = [0.25, 0.5, 1, 2, 4, 8, 8]
    assert [max(some) for some in pauses] == pytest.approx(bounds, rel=0.1)
    for some, bound in zip(pauses, bounds, strict=True):
        assert bound / 2 <= min(some) <= max(some) <= bound
    assert policy.pause_s(error, 21, safe=True) is None


def test_the_time_that_is_left_ends_the_tries() -> None:
    policy, error = RetryPolicy(), ServerUnreachable("x")
    assert policy.pause_s(error, 1, safe=True, left_s=0.25) is not None
    assert policy.pause_s(error, 1, safe=True, left_s=0.1) is None
    assert policy.pause_s(error, 1, safe=True, asked_s=3, left_s=3) is None


async def test_redirections_do_not_carry_the_key_away(connect: Callable[..., AsyncClient]) -> None:
    server = Server(httpx.Response(307, headers={"Location": "http://evil.example/"}))
    with pytest.raises(EmberboxError, match="307 http://evil"):
        await connect(server).jobs.get("job_01")
    assert len(server.requests) == 1


async def test_the_key_is_sent_and_never_shown(connect: Callable[..., AsyncClient]) -> None:
    server = Server(httpx.ConnectError("refused"))
    client = connect(server, retries=0)
    with pytest.raises(ServerUnreachable) as raised:
        await client.jobs.get("job_01")
    assert server.requests[0].headers["Authorization"] == f"Bearer {KEY}"
    shown = [
        repr(client),
        repr(client.place),
        str(raised.value),
        repr(raised.value),
        raised.value.detail,
        repr(raised.value.__cause__),
    ]
    assert not [text for text in shown if text and KEY in text]


@pytest.mark.parametrize("content", [b"hello", b"{}", b"[]", b'{"id": 1}'])
async def test_another_server_is_told_from_ours(connect: Callable[..., AsyncClient], content: bytes) -> None:
    with pytest.raises(ServerUnreachable, match="does not look like Emberbox"):
        await connect(Server(httpx.Response(200, content=content))).jobs.get("job_01")


async def test_without_a_key_it_is_told_where_one_comes_from(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("EMBERBOX_API_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    server = httpx.MockTransport(Server(refusal(NotAuthenticated)))
    with pytest.raises(NotAuthenticated, match="emberbox login --server"):
        await AsyncClient("http://127.0.0.1:1", network=server, data=tmp_path).jobs.get("job_01")


async def test_ids_stay_in_their_place(connect: Callable[..., AsyncClient]) -> None:
    server = Server(JOB)
    await connect(server).jobs.get("../keys?x=/#")
    assert server.requests[0].url.raw_path == b"/v1/jobs/..%2Fkeys%3Fx%3D%2F%23"


async def test_what_a_lost_answer_told_to_be_deleted_is_deleted(connect: Callable[..., AsyncClient]) -> None:
    await connect(Server(httpx.ReadTimeout("slow"), refusal(NotFound))).jobs.delete("job_01")
    with pytest.raises(NotFound):
        await connect(Server(refusal(StoreError), refusal(NotFound))).jobs.delete("job_01")
    with pytest.raises(NotFound):
        await connect(Server(httpx.ReadTimeout("slow"), refusal(NotFound))).jobs.get("job_01")

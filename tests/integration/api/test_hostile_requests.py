"""Whatever is sent to whatever address, the answer is one that was meant: never a 500, always with a code."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from emberbox.api import auth
from emberbox.api.app import bare_app
from emberbox.service.service import Service
from tests.integration.api.grammar import BODIES, DEEP, HUGE, NAN, Made, requests, written_json
from tests.integration.api.refusing import RefusingEngine
from tests.integration.api.routes import PREFIXES, Address, addresses
from tests.integration.api.samples import make_some_of_each
from tests.integration.api.wire import Answer, check, exchange, written
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from emberbox.config import Settings
    from tests.integration.conftest import Served

ADDRESSES = [address for address in addresses(bare_app()) if address.method != "WEBSOCKET"]
UPGRADE = b"GET /v1/jobs/job_0/stream HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
HANDSHAKE = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
EXAMPLES = {"sqlite": 40, "postgresql": 15}


@pytest.fixture
async def engine(service_settings: Settings) -> RefusingEngine:
    return RefusingEngine(service_settings)


@pytest.fixture
async def service(
    service_settings: Settings, engine: RefusingEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    monkeypatch.setattr(auth, "FAILURES_AT_ONCE", 1_000_000)
    bounds = replace(service_settings.server, wait_s=0.1)
    quota = replace(service_settings.quota, requests_per_s=0.0)
    async with Service(replace(service_settings, server=bounds, quota=quota), engine=engine) as started:
        yield started


@pytest.fixture
async def ids(app_client: httpx.AsyncClient, engine: RefusingEngine) -> dict[str, list[str]]:
    """One of everything that there is; from then on nothing is run."""
    made = await make_some_of_each(app_client, 1)
    engine.refusing = True
    return made


async def _sent(served: Served, made: Made) -> Answer:
    key = ("Authorization", f"Bearer {served.secret}".encode())
    return await exchange(served.url, written(made.method, made.target, [key, *made.headers], made.body))


# Of strategies with long texts; nobody reads their text.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
async def test_every_address_answers_what_was_meant(
    served: Served, ids: dict[str, list[str]], database_kind: str
) -> None:
    own = {name: values for name, values in ids.items() if name in PREFIXES}

    for address in ADDRESSES:

        @settings(
            max_examples=EXAMPLES[database_kind],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        @given(requests(address, own))
        async def answers(made: Made) -> None:
            check(await _sent(served, made), made)

        await _examples(answers)


async def _examples(test: Any) -> None:
    """Run a property of the loop that runs already: Hypothesis goes from example to example in a thread."""
    loop, inner = asyncio.get_running_loop(), test.hypothesis.inner_test

    def one(*args: Any, **values: Any) -> None:
        asyncio.run_coroutine_threadsafe(inner(*args, **values), loop).result(PATIENCE_S)

    test.hypothesis.inner_test = one
    await asyncio.to_thread(test)


PLACES = [
    (path, name, value)
    for path in BODIES
    for name in BODIES[path]
    for value in ("\ud800", "\0", DEEP, HUGE, NAN, {"a": DEEP}, ["\ud800"], {"\ud800": "x"}, {"a": "\ud800"})
]


async def test_every_field_of_every_body_takes_or_refuses_what_is_odd(
    served: Served, ids: dict[str, list[str]]
) -> None:
    methods = {
        address.template: address for address in ADDRESSES if address.method in ("POST", "PUT", "PATCH")
    }
    for path, name, value in PLACES:
        address: Address = methods[path]
        target = address.path(**{key: ids[key][0] for key in ids}).replace("{runtime}", "python")
        body = written_json({**BODIES[path], name: value})
        made = Made(address.method, target, [("Content-Type", b"application/json")], body)
        check(await _sent(served, made), (path, name, value))


LABELS = [
    *('{"a":"\\ud800"}', '{"\\ud800":"a"}', '{"a":"\\u0000"}', '{"a":NaN}', '{"a":' + "9" * 5000 + "}"),
    *("[" * 60_000, "{" * 10, '{"a":' * 10_000, '{"a":' + "[" * 20_000, '{"a":' + "[" * 9 + "]" * 9 + "}"),
]


@pytest.mark.parametrize("labels", LABELS, ids=range(len(LABELS)))
@pytest.mark.parametrize("path", ["/v1/scripts", "/scripts"])
async def test_labels_of_a_form(app_client: httpx.AsyncClient, labels: str, path: str) -> None:
    answer = await app_client.post(path, files={"file": ("a.py", b"print()")}, data={"labels": labels})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


NAMES = ["a\u202egnp.py", "\u200b.py", "a\ufeff.py", "a\u2066b.py", "a\x1b[2J.py", "a\u0085.py"]


@pytest.mark.parametrize("name", NAMES)
async def test_names_that_hide_something_are_refused(app_client: httpx.AsyncClient, name: str) -> None:
    job = {"runtime": "python", "code": "print()"}
    hook = {"url": "http://127.0.0.1:9/"}
    for path, body in (
        ("/v1/jobs", {**job, "name": name}),
        ("/v1/jobs", {**job, "entry": name}),
        ("/v1/jobs", {**job, "labels": {"a": name}}),
        ("/v1/jobs", {**job, "files": {name: "x"}}),
        ("/v1/keys", {"name": name}),
        ("/v1/webhooks", {**hook, "description": name}),
    ):
        answer = await app_client.post(path, json=body)
        assert answer.status_code == 422, (path, body)
        assert name not in answer.text
    for data in ({"name": name}, {"entry": name}, {"labels": json.dumps({"a": name})}):
        answer = await app_client.post("/v1/scripts", files={"file": ("a.py", b"print()")}, data=data)
        assert answer.status_code == 422, data
    answer = await app_client.post("/v1/scripts", files={"file": (name, b"print()")})
    assert answer.status_code == 422


GET = b"GET /healthz HTTP/1.1\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\n"
HEADS = [
    GET + b"\r\n",
    *(
        GET + b"Host: " + host + b"\r\n\r\n"
        for host in (b"a b", b"a/b", b"a,b", b"u@h", b"http://a", b"\xe4")
    ),
    GET + b"Host: a\r\nHost: a\r\n\r\n",
    b"GET /healthz HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    b"nothing\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    POST + b"Content-Length: -1\r\n\r\n",
    POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    UPGRADE + b"\r\n",
    UPGRADE + b"Sec-WebSocket-Version: 13\r\n\r\n",
    UPGRADE + b"Sec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 12\r\n\r\n",
    UPGRADE + b"x: " + b"y" * 9000 + b"\r\n\r\n",
    UPGRADE + b"".join(b"x%d: y\r\n" % number for number in range(200)) + b"\r\n",
    UPGRADE.replace(b"Host: a\r\n", b"") + HANDSHAKE,
    UPGRADE + b"Host: b\r\n" + HANDSHAKE,
    UPGRADE.replace(b"GET", b"POST") + HANDSHAKE,
]


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
async def test_what_is_no_request_is_refused_as_all_else(served: Served, head: bytes) -> None:
    answer = await exchange(served.url, head)
    check(answer, head)
    assert 400 <= answer.status < 500


HOSTS = [b"here", b"here:80", b"[::1]:8470", b"8000-a.example.org", b"xn--bcher-kva.example"]


async def test_one_host_is_enough_and_old_http_needs_none(served: Served) -> None:
    close = b"Connection: close\r\n\r\n"
    for host in HOSTS:
        assert (await exchange(served.url, GET + b"Host: " + host + b"\r\n" + close)).status == 200
    assert (await exchange(served.url, b"GET /healthz HTTP/1.0\r\n" + close)).status == 200

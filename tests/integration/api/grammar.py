"""Requests that nobody means well: what stands in each place of a request, and how it is written.

Each strategy yields whole requests. Bodies begin as ones that would be taken, and are then spoilt in a few
places: those that are wrong everywhere are refused at the first of them.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.integration.api.routes import Address

DEEP, HUGE, NAN = "@deep@", "@huge@", "@nan@"
"""Stand in a body for what no Python value becomes; see `written_json`."""
_WRITTEN = {
    f'"{DEEP}"': "[" * 20_000 + "]" * 20_000,
    f'"{HUGE}"': "9" * 5000,
    f'"{NAN}"': "NaN",
}

ODD_TEXTS = [
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "a\udfffb",
        "\ud83d",
        "\n",
        "\r\nX-Evil: 1",
        "\x1b[2J",
        "\x7f",
        "\u0085",
    ),
    *("\u202egnp.exe", "\u200b", "\ufeff", "\u2066a\u2069", "\U000e0041", "\ue000", "\uffff", "\U0010ffff"),
    *("../../etc/passwd", "/etc/passwd", "C:\\x", "a" * 300, "ä" * 5000, "%00", "%ff", "%", "{}", "$(id)"),
    *(
        "null",
        "NaN",
        "-1",
        "1e999",
        "0x10",
        "١٢٣",
        "Infinity",
        "true",
        "job_" + "z" * 26,
        "e\u0301",
        "İ",
        "ß",
    ),
]
ODD_VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**63,
        -(2**63) - 1,
        2**64,
        10**400,
        0.5,
        -0.0,
        1e308,
        float("inf"),
    ),
    *([], {}, [[]], [None], {"": None}, {"a": {"b": {"c": []}}}, [1, "a", None], DEEP, HUGE, NAN),
]
texts = st.sampled_from(ODD_TEXTS) | st.text(st.characters(), max_size=20)
values = st.sampled_from(ODD_VALUES) | texts | st.dictionaries(texts, texts, max_size=3)
CONTENT_TYPES = [
    *(
        "application/json",
        "application/json; charset=utf-16",
        "application/json; charset=nothing",
        "text/plain",
    ),
    *(
        "",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "a/b/c",
    ),
    *("multipart/form-data; boundary=x", "application/problem+json", "\u00e4", "application/json, text/html"),
]
HEADERS = ["Idempotency-Key", "Last-Event-ID", "Accept", "X-Request-Id", "Range", "If-None-Match", "Origin"]
QUERIES = [
    *(
        "wait",
        "cursor",
        "limit",
        "status",
        "runtime",
        "label",
        "name",
        "path",
        "script_id",
        "job_id",
        "event",
    ),
    *("format", "follow", "stream", "after", "offset", "tail", "encoding", "timestamps", "since", "until"),
]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/jobs": {
        "runtime": "python",
        "code": "print()",
        "name": "n",
        "args": ["a"],
        "stdin": "x",
        "env": {"A": "1"},
        "secret_env": {"B": "2"},
        "files": {"a.txt": "x", "b.bin": {"base64": "AAAA"}},
        "artifacts": ["*.txt"],
        "timeout_s": 5,
        "memory_mib": 128,
        "labels": {"team": "x"},
        "retries": 0,
        "webhook": {"url": "http://127.0.0.1:9/", "secret": "12345678"},
    },
    "/v1/scripts/{script_id}/run": {
        "args": ["a"],
        "labels": {"a": "b"},
        "stdin_base64": "AAAA",
        "env": {"A": "1"},
    },
    "/api/v1/public/execute": {"language": "python", "code": "print()"},
    "/v1/keys": {"name": "k", "scopes": ["run"], "quota": {"burst": 3}, "expires_at": "2999-01-01T00:00:00Z"},
    "/v1/keys/{key_id}": {"name": "k", "scopes": ["run"], "quota": {}},
    "/v1/keys/{key_id}/rotate": {"grace_s": 1},
    "/v1/webhooks": {"url": "http://127.0.0.1:9/", "events": ["job.finished"], "description": "d"},
    "/v1/webhooks/{webhook_id}": {
        "url": "http://127.0.0.1:9/",
        "events": ["*"],
        "description": "d",
        "active": True,
    },
    "/v1/pools/{runtime}": {"ready": 0, "memory_mib": 128, "vcpus": 1},
}
FORMS = ("/v1/scripts", "/scripts")
_DISPOSITION = 'Content-Disposition: form-data; name="{name}"'


@dataclass(frozen=True)
class Made:
    """A request as it goes over the wire."""

    method: str
    target: str
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    body: bytes = b""


def requests(address: Address, ids: Mapping[str, list[str]]) -> st.SearchStrategy[Made]:
    """Return requests to an address; `ids` are those of things that are there, by path parameter."""
    body: st.SearchStrategy[tuple[tuple[str, bytes], bytes]]
    if address.method == "GET":
        body = st.just((("Accept", b"*/*"), b""))
    else:
        body = _forms() if address.template in FORMS else _bodies(address.template)
    return st.builds(
        lambda target, headers, body: Made(address.method, target, [*headers, body[0]], body[1]),
        _targets(address.template, ids),
        st.lists(st.tuples(st.sampled_from(HEADERS), _header_values()), max_size=3),
        body,
    )


def _targets(template: str, ids: Mapping[str, list[str]]) -> st.SearchStrategy[str]:
    names = re.findall(r"{(\w+)}", template)
    parameters = st.tuples(*[_escaped() | st.sampled_from(ids.get(name) or ["python"]) for name in names])
    values = _escaped() | st.sampled_from(["1", "0"])
    query = st.lists(st.tuples(st.sampled_from(QUERIES), values), max_size=4)

    def made(values: tuple[str, ...], query: list[tuple[str, str]]) -> str:
        path = template
        for name, value in zip(names, values, strict=True):
            path = path.replace(f"{{{name}}}", value)
        return path + ("?" + "&".join(f"{name}={value}" for name, value in query) if query else "")

    return st.builds(made, parameters, query)


def _escaped() -> st.SearchStrategy[str]:
    """Return texts as they can stand in a target: escaped rightly, or in ways that decode to nothing."""
    raw = ["%", "%f", "%zz", "%ff", "%C0%80", "%ed%a0%80", "%2e%2e%2f", "%u0041", "a+b", "1.5", ""]
    right = texts.map(lambda text: quote(text.encode("utf-8", "surrogatepass")[:2000], safe=""))
    return st.sampled_from(raw) | right


def _header_values() -> st.SearchStrategy[bytes]:
    plain = texts.map(lambda text: text.encode("utf-8", "surrogatepass")[:500])
    known = [b"1.99999999", b"end", b"text/event-stream", b"1.7", b"9.0"]
    return st.sampled_from(known) | plain.map(lambda value: re.sub(rb"[\0\r\n]", b"", value))


def _bodies(template: str) -> st.SearchStrategy[tuple[tuple[str, bytes], bytes]]:
    whole = BODIES.get(template, {})
    spoilt = st.lists(st.tuples(st.randoms(use_true_random=False), values | texts), max_size=3).map(
        lambda changes: written_json(_spoilt(whole, changes))
    )
    torn = st.tuples(spoilt, st.integers(0, 50)).map(lambda one: one[0][: -one[1]] if one[1] else one[0])
    doubled = [b'{"name":"a","name":1}', b'{"labels":{"a":"b"},"labels":{"a":[]}}', b'{"env":{},"env":1}']
    other = st.binary(max_size=30) | st.sampled_from(doubled) | values.map(written_json)
    other |= st.just("{}".encode("utf-16"))
    kinds = st.just("application/json") | st.sampled_from(CONTENT_TYPES)
    return st.tuples(kinds.map(lambda kind: ("Content-Type", kind.encode("latin-1"))), spoilt | torn | other)


def _spoilt(whole: dict[str, Any], changes: list[tuple[Any, Any]]) -> Any:
    """Return a body in which some values, or names, are others."""
    body = json.loads(json.dumps(whole))
    # The values are shared: what is put in may be changed by the next change.
    for chance, shared in changes:
        value = copy.deepcopy(shared)
        place: Any = body
        while True:
            keys: list[Any] = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = chance.choice(keys)
            if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.6:
                place = place[key]
            elif isinstance(place, dict) and isinstance(value, str) and chance.random() < 0.3:
                place[value] = place.pop(key)
                break
            else:
                place[key] = value
                break
    return body


def written_json(value: Any) -> bytes:
    """Return a value as JSON, with what stands for odd values in their place."""
    text = json.dumps(value)
    for stand_in, real in _WRITTEN.items():
        text = text.replace(stand_in, real)
    return text.encode()


def _forms() -> st.SearchStrategy[tuple[tuple[str, bytes], bytes]]:
    names = st.sampled_from(["file", "file", "script", "runtime", "entry", "name", "labels", "other", ""])
    labels = values.map(lambda value: written_json({"a": value})) | values.map(written_json)
    contents = labels | texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=30)
    good = st.just(("file", 'filename="a.py"', b"print()"))
    part = st.tuples(names, st.just("") | texts.map(_filename), contents)
    boundary = st.sampled_from(["x", "x", "x", "-", "a b", "\u00e4", "x" * 80])
    ending = st.sampled_from([b"--\r\n", b"--\r\n", b"--\r\n", b"\r\n", b"", b"--", b"\0"])
    return st.builds(_form, st.lists(good | part, max_size=4), boundary, ending)


def _filename(text: str) -> str:
    return 'filename="' + re.sub(r'["\r\n]', "_", text) + '"'


def _form(
    parts: list[tuple[str, str, bytes]], boundary: str, ending: bytes
) -> tuple[tuple[str, bytes], bytes]:
    line = b"--" + boundary.encode("latin-1")
    body = b""
    for name, filename, content in parts:
        head = "; ".join(filter(None, [_DISPOSITION.format(name=name), filename]))
        body += line + b"\r\n" + head.encode("utf-8", "surrogatepass") + b"\r\n\r\n" + content + b"\r\n"
    kind = f"multipart/form-data; boundary={boundary}".encode("latin-1")
    return ("Content-Type", kind), body + line + ending

"""Writes docs/api.md from the API's description of itself (OpenAPI); a test holds it to that."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.reports.prose import item, wrapped

from emberbox import errors
from emberbox.api.app import bare_app
from emberbox.api.statuses import STATUSES
from emberbox.errors import EmberboxError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TARGET = Path(__file__).parents[1] / "docs/api.md"
METHODS = ("get", "post", "put", "patch", "delete")
HEAD = """# The API

This page lists every call of the service, its errors and its types. This call runs code and waits:

```sh
curl "$SERVER/v1/jobs?wait=30" -H "Authorization: Bearer $KEY" \\
  -H 'Content-Type: application/json' -d '{"runtime": "python", "code": "print(6 * 7)"}'
```

How to begin is in [quickstart.md](quickstart.md). From Python, use [sdk.md](sdk.md).

This page is written by `python -m scripts.api_reference` from the service's description of itself.
The service serves that description as `/openapi.json`.

"""
SOCKET = """## Talking to a job

### `WebSocket /v1/jobs/{job_id}/stream`

Output comes out, and input goes in. Submit the job with `interactive` to leave its input open.
[streams.md](streams.md#the-websocket) tells more.

The key is sent as for other calls. Browsers cannot set headers: they offer the protocols `emberbox`
and `bearer.KEY`. Watching needs the scope `read`, sending needs `run`.

Parameters:

- `after` (query): text. The id of an entry to go on behind.
- `encoding` (query): `text` or `base64`, of output.

The server sends JSON:

| message | meaning |
|---|---|
| `{"type": "output", "id", "stream", "time", "data"}` | the program wrote something |
| `{"type": "attempt", "id", "attempt"}` | a new attempt begins, and output anew |
| `{"type": "end", "job"}` | the last message: the [Job](#job) |
| `{"type": "error", "code", "detail", "retryable"}` | a message was refused |
| `{"type": "heartbeat"}` | there was nothing else for a while |

The client sends:

| message | meaning |
|---|---|
| a binary message | input, as it is |
| `{"type": "stdin", "data"}` or `{"type": "stdin", "base64"}` | input |
| `{"type": "close_stdin"}` | the end of the input |
| `{"type": "signal", "signal"}` | a signal, by number or name |
| `{"type": "cancel"}` | ends the job |

Input waits for the program to begin, and while it does not read. A binary message holds at most
1 MiB, a text message at most 2 Mi characters.

"""


def reference() -> str:
    """Return the page."""
    described = described_api()
    parts = [HEAD, _paragraphs(described["info"]["description"]), *_calls(described), SOCKET, *_errors()]
    parts.append(
        "## Types\n\nFields without a default are always there in answers, and needed in requests.\n\n"
    )
    for name, schema in sorted(described["components"]["schemas"].items()):
        parts += _type(name, schema)
    return "".join(parts).rstrip() + "\n"


def described_api() -> dict[str, Any]:
    """Return the OpenAPI document, without starting a service."""
    return bare_app().openapi()


def _calls(described: dict[str, Any]) -> Iterator[str]:
    for tag in described["tags"]:
        calls = [
            (method, path, operation)
            for path, operations in described["paths"].items()
            for method, operation in operations.items()
            if method in METHODS and tag["name"] in operation.get("tags", ())
        ]
        if calls:
            yield f"## {tag['name'].capitalize()}\n\n{tag['description']}\n\n"
        for method, path, operation in calls:
            yield from _call(method, path, operation)


def _call(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"### `{method.upper()} {path}`\n\n"
    summary = operation["summary"]
    ended = summary if summary.endswith("?") else f"{summary}."
    yield _paragraphs(f"**{ended}** {operation.get('description', '')}")
    parameters = operation.get("parameters", ())
    if parameters:
        yield "Parameters:\n\n"
    for one in parameters:
        schema = one["schema"]
        meaning = one.get("description") or schema.get("description", "")
        yield item(f"`{one['name']}` ({one['in']}): {_told(schema, meaning, needed=False)}") + "\n"
    if parameters:
        yield "\n"
    yield from _body(operation.get("requestBody"))
    yield from _answers(operation["responses"])


def _body(body: dict[str, Any] | None) -> Iterator[str]:
    for media_type, content in (body or {}).get("content", {}).items():
        schema = content["schema"]
        if "properties" not in schema:
            yield f"Body: {_kind(schema)} (`{media_type}`).\n\n"
            continue
        yield f"Body: `{media_type}` with these fields:\n\n" + "".join(_fields(schema))


def _answers(responses: dict[str, Any]) -> Iterator[str]:
    yield "Answers:\n\n"
    good = {status: answer for status, answer in responses.items() if status.startswith("2")}
    for status, answer in sorted(good.items()):
        kinds = [
            f"{_kind(content['schema'])} (`{kind}`)"
            for kind, content in answer.get("content", {}).items()
            if "schema" in content
        ]
        told = answer.get("description", "")
        plain = "" if told == "Successful Response" else f" {told.rstrip('.')}"
        yield item(f"**{status}**{plain}{': ' if kinds else ''}{', or '.join(kinds)}") + "\n"
    bad = sorted({status for status in responses if status[0] in "45"})
    yield f"- Errors: {', '.join(bad)}\n\n"


def _errors() -> Iterator[str]:
    yield "## Errors\n\n"
    yield _paragraphs(
        "Each error is told by its `code` in a problem document, and by the class of "
        "`emberbox.errors` that the SDK raises for it. After a retryable error, "
        "the same request may succeed later."
    )
    by_status: dict[int, list[type[EmberboxError]]] = {}
    for kind in sorted(_kinds(EmberboxError), key=lambda kind: (STATUSES[kind.code], kind.code)):
        by_status.setdefault(STATUSES[kind.code], []).append(kind)
    for status, found in by_status.items():
        yield f"### {status}\n\n"
        for kind in found:
            meaning = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0]
            again = ", retryable" if kind.retryable else ""
            yield item(f"`{kind.code}` (`{kind.__name__}`{again}): {meaning}") + "\n"
        yield "\n"


def _kinds(root: type[EmberboxError]) -> Iterator[type[EmberboxError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _kinds(child)


def _type(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}\n\n"
    yield _paragraphs(schema.get("description", ""))
    if "enum" in schema:
        yield _paragraphs(f"One of {_values(schema['enum'])}.")
    elif "properties" in schema:
        yield from _fields(schema)


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        yield item(f"`{name}`: {_told(field, field.get('description', ''), needed=name in required)}") + "\n"
    yield "\n"


def _told(schema: dict[str, Any], meaning: str, *, needed: bool) -> str:
    """Return a field's type, its meaning and its default."""
    parts = [f"{_kind(schema)}.", meaning, "" if needed else _default(schema)]
    return " ".join(filter(None, parts))


def _kind(schema: dict[str, Any]) -> str:
    """Return a type in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(option) for option in schema["anyOf"])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return _values(schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map of text to {_kind(schema['additionalProperties'])}"
    return _plain(schema)


def _plain(schema: dict[str, Any]) -> str:
    words = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "null": "null",
    }
    kind = words.get(schema.get("type", ""), str(schema.get("type", "anything")))
    formats = {"date-time": "time", "date": "day", "uri": "URL", "binary": "bytes"}
    kind = formats.get(schema.get("format", ""), kind)
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if low is not None and high is not None:
        kind += f", {'above ' if 'exclusiveMinimum' in schema else ''}{int(low):,} to {int(high):,}"
    return kind


def _values(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default is None or default in ([], {}, "") else f"Default: `{json.dumps(default)}`."


def _paragraphs(text: str) -> str:
    """Return paragraphs in lines that fit, each with an empty line behind it."""
    return "".join(f"{wrapped(one)}\n\n" for one in text.split("\n\n") if one.strip())


if __name__ == "__main__":
    TARGET.write_text(reference())

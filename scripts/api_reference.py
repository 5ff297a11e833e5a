"""Writes docs/api.md from the API's description of itself (OpenAPI); a test holds it to that."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from emberbox import errors
from emberbox.api.app import create_app
from emberbox.config import Settings
from emberbox.errors import EmberboxError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from emberbox.jobs.service import Service

TARGET = Path(__file__).parents[1] / "docs/api.md"
METHODS = ("get", "post", "put", "patch", "delete")
HEAD = """# The API

Written by `python scripts/api_reference.py` from the service's description of itself, which it serves as `/openapi.json`.
How to begin: [quickstart.md](quickstart.md). From Python: [sdk.md](sdk.md).

"""
SOCKET = """## Talking to a job

### `WebSocket /v1/jobs/{job_id}/stream`

Output comes out, input goes in; submit the job with `interactive` to leave its input open. The key is sent as for other calls;
browsers, which cannot set headers, offer the protocols `emberbox` and `bearer.KEY`. Parameters: `after` (the id of an entry to go
on behind) and `encoding` (`text` or `base64`, of output). To watch needs the scope `read`, to send `run`.

| from the server, as JSON | |
|---|---|
| `{"type": "output", "id", "stream", "time", "data"}` | what the program wrote |
| `{"type": "attempt", "id", "attempt"}` | a new attempt begins, and output anew |
| `{"type": "end", "job"}` | the last message: the [Job](#job) |
| `{"type": "error", "code", "detail", "retryable"}` | what was sent is refused |
| `{"type": "heartbeat"}` | there was nothing else for a while |

| to the server | |
|---|---|
| a binary message | input, as it is |
| `{"type": "stdin", "data"}` or `{"type": "stdin", "base64"}` | input |
| `{"type": "close_stdin"}` | the end of the input |
| `{"type": "signal", "signal"}` | a signal, by number or name |
| `{"type": "cancel"}` | ends the job |

Input waits for the program to begin, and while it does not read. A message holds at most 1 MiB.

"""


def reference() -> str:
    """Return the page."""
    described = described_api()
    parts = [HEAD, described["info"]["description"].rstrip(), "\n\n", *_calls(described), SOCKET, *_errors()]
    parts.append("## Types\n\nFields without a default are always there in answers, and needed in requests.\n\n")
    for name, schema in sorted(described["components"]["schemas"].items()):
        parts += _type(name, schema)
    return "".join(parts).rstrip() + "\n"


def described_api() -> dict[str, Any]:
    """Return the OpenAPI document of a service with default settings, without starting one."""
    service = cast("Service", SimpleNamespace(settings=Settings(data=Path("/var/lib/emberbox"))))
    return create_app(service).openapi()


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
    yield f"### `{method.upper()} {path}`\n\n**{operation['summary']}.** {operation.get('description', '').strip()}\n\n"
    parameters = operation.get("parameters", ())
    if parameters:
        yield "| parameter | in | type | meaning |\n|---|---|---|---|\n"
        for one in parameters:
            schema = one["schema"]
            meaning = one.get("description") or schema.get("description", "")
            yield f"| `{one['name']}` | {one['in']} | {_kind(schema)} | {_cell(meaning)}{_default(schema)} |\n"
        yield "\n"
    yield from _body(operation.get("requestBody"))
    yield from _answers(operation["responses"])


def _body(body: dict[str, Any] | None) -> Iterator[str]:
    for media_type, content in (body or {}).get("content", {}).items():
        schema = content["schema"]
        if "properties" not in schema:
            yield f"Body: {_kind(schema)} (`{media_type}`).\n\n"
            continue
        yield f"Body: `{media_type}` with these fields.\n\n" + "".join(_fields(schema))


def _answers(responses: dict[str, Any]) -> Iterator[str]:
    good = {status: answer for status, answer in responses.items() if status.startswith("2")}
    for status, answer in sorted(good.items()):
        kinds = [
            f"{_kind(content['schema'])} (`{kind}`)" for kind, content in answer.get("content", {}).items() if "schema" in content
        ]
        told = answer.get("description", "")
        plain = "" if told == "Successful Response" else f" {told.rstrip('.')}"
        yield f"- **{status}**{plain}{': ' if kinds else ''}{', or '.join(kinds)}\n"
    bad = sorted({status for status in responses if status[0] in "45"})
    yield f"- Errors: {', '.join(bad)}\n\n"


def _errors() -> Iterator[str]:
    yield "## Errors\n\nThe `code` of a problem document, and the class of `emberbox.errors` that the SDK raises for it. "
    yield "“Again” tells whether the same request may succeed later.\n\n"
    yield "| code | status | again | class | meaning |\n|---|---|---|---|---|\n"
    for kind in sorted(_kinds(EmberboxError), key=lambda kind: (kind.status, kind.code)):
        meaning = (kind.__doc__ or "").strip().splitlines()[0]
        again = "yes" if kind.retryable else "no"
        yield f"| `{kind.code}` | {kind.status} | {again} | `{kind.__name__}` | {_cell(meaning)} |\n"
    yield "\n"


def _kinds(root: type[EmberboxError]) -> Iterator[type[EmberboxError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _kinds(child)


def _type(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}\n\n"
    if told := schema.get("description", ""):
        yield f"{_cell(told)}\n\n"
    if "enum" in schema:
        yield f"One of {_values(schema['enum'])}.\n\n"
    elif "properties" in schema:
        yield from _fields(schema)


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    yield "| field | type | meaning |\n|---|---|---|\n"
    for name, field in schema["properties"].items():
        needed = "" if name in required else _default(field)
        yield f"| `{name}` | {_kind(field)} | {_cell(field.get('description', ''))}{needed} |\n"
    yield "\n"


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
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false", "null": "null"}
    kind = words.get(schema.get("type", ""), str(schema.get("type", "anything")))
    formats = {"date-time": "time", "date": "day", "uri": "URL", "binary": "bytes"}
    kind = formats.get(schema.get("format", ""), kind)
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if low is not None and high is not None:
        kind += f", {'above ' if 'exclusiveMinimum' in schema else ''}{low:,} to {high:,}"
    return kind


def _values(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


def _default(schema: dict[str, Any]) -> str:
    default = schema.get("default")
    return "" if default is None or default in ([], {}, "") else f" Default: `{json.dumps(default)}`."


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(reference())

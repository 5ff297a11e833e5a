"""Firecracker's description of its API, where it is at hand: all requests of tests are held to it.

It is looked for beside the repository, or where EMBERBOX_FIRECRACKER_DESCRIPTION says; without it
nothing is checked.
"""

from __future__ import annotations

import contextlib
import os
import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from emberbox.vmm.firecracker.requests.api import FirecrackerApi

ROOT = Path(__file__).parents[2]
_PLACE = ROOT / "../shared/reference/firecracker-api.yaml"
_VARIABLE = "EMBERBOX_FIRECRACKER_DESCRIPTION"
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}
_FORMATS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
# Its text says that any part of the configuration may be sent; its schema is the one for the whole.
_PARTIAL = {("PATCH", "/machine-config")}

_on_purpose: ContextVar[bool] = ContextVar("deliberately_wrong", default=False)


def find() -> Path | None:
    """Return the description's file, or None where there is none.

    A file that the environment names must be there.
    """
    named = os.environ.get(_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(f"{_VARIABLE} names {named}, which is no file")
        return Path(named)
    return _PLACE.resolve() if _PLACE.is_file() else None


@dataclass(frozen=True)
class Description:
    """An API's paths and definitions in Swagger 2.0; others are refused, as Firecracker does."""

    paths: Mapping[str, Any]
    definitions: Mapping[str, Any]

    @classmethod
    def load(cls, file: Path) -> Description:
        import yaml  # type: ignore[import-untyped]

        class Loader(yaml.CSafeLoader):  # type: ignore[misc]
            """YAML 1.1 takes the log level Off for a bool."""

        Loader.yaml_implicit_resolvers = {
            letter: [
                (tag, pattern) for tag, pattern in resolvers if letter in "tTfF" or not tag.endswith(":bool")
            ]
            for letter, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
        }
        document = yaml.load(file.read_text(), Loader=Loader)  # noqa: S506
        return cls(document["paths"], document["definitions"])

    def violations(self, method: str, path: str, body: Any) -> list[str]:
        """Return what is wrong with a request, one sentence for each; nothing for a right one."""
        template = self.template(path)
        operation = self.paths[template].get(method.lower()) if template else None
        if operation is None:
            return [f"{method} {path}: no such operation"]
        found = self._body_of(operation)
        if body is None:
            return [f"{method} {path}: needs a body"] if found.get("required") else []
        if not found:
            return [f"{method} {path}: takes no body"]
        partial = (method, template) in _PARTIAL
        wrong = self._check(found["schema"], body, "body", partial=partial)
        wrong += [
            f"body.{name}: {body[name]!r}, but the path says {value!r}"
            for name, value in self._parts(template or "", path).items()
            if isinstance(body, dict) and name in body and body[name] != value
        ]
        return [f"{method} {path}: {text}" for text in wrong]

    def template(self, path: str) -> str | None:
        """Return the described path that `path` is one of; None when it is none."""
        return next((template for template in self.paths if self._pattern(template).fullmatch(path)), None)

    def schema(self, method: str, template: str) -> Mapping[str, Any] | None:
        """Return the wanted body of an operation, with references resolved; None when it has none."""
        found = self._body_of(self.paths[template][method.lower()])
        return self.resolved(found["schema"]) if found else None

    def resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the schema that this one refers to, or itself."""
        while "$ref" in schema:
            schema = self.definitions[schema["$ref"].removeprefix("#/definitions/")]
        return schema

    @staticmethod
    def _body_of(operation: Mapping[str, Any]) -> Mapping[str, Any]:
        return next((part for part in operation.get("parameters", ()) if part["in"] == "body"), {})

    @staticmethod
    def _pattern(template: str) -> re.Pattern[str]:
        return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[A-Za-z0-9_]+)", re.escape(template)))

    def _parts(self, template: str, path: str) -> dict[str, str]:
        match = self._pattern(template).fullmatch(path)
        return match.groupdict() if match else {}

    def _check(
        self, schema: Mapping[str, Any], value: Any, where: str, *, partial: bool = False
    ) -> list[str]:
        schema = self.resolved(schema)
        kind = schema.get("type", "object")
        if not _is(kind, value):
            return [f"{where}: {value!r} is no {kind}"]
        if kind == "object":
            return self._check_object(schema, value, where, partial=partial)
        if kind == "array":
            return [
                text
                for at, item in enumerate(value)
                for text in self._check(schema["items"], item, f"{where}[{at}]")
            ]
        if kind == "integer":
            return _check_bounds(schema, value, where)
        return _check_string(schema, value, where) if kind == "string" else []

    def _check_object(
        self, schema: Mapping[str, Any], value: dict[str, Any], where: str, *, partial: bool
    ) -> list[str]:
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", False)
        missing = () if partial else [name for name in schema.get("required", ()) if name not in value]
        wrong = [f"{where}.{name}: is missing" for name in missing]
        for name, item in value.items():
            if name in known:
                wrong += self._check(known[name], item, f"{where}.{name}")
            elif others is False:
                wrong.append(f"{where}.{name}: no such field")
            elif others is not True:
                wrong += self._check(others, item, f"{where}.{name}")
        return wrong


def _is(kind: str, value: object) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, _TYPES[kind])


def _check_bounds(schema: Mapping[str, Any], value: int, where: str) -> list[str]:
    # Sizes and counts are all unsigned, also where the description does not say so.
    least, most = _FORMATS.get(schema.get("format", ""), (0, 2**64 - 1))
    least, most = schema.get("minimum", max(least, 0)), schema.get("maximum", most)
    return [] if least <= value <= most else [f"{where}: {value} is not from {least} to {most}"]


def _check_string(schema: Mapping[str, Any], value: str, where: str) -> list[str]:
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        return [f"{where}: {value!r} is none of {allowed}"]
    pattern = schema.get("format")
    return [f"{where}: {value!r} is not {pattern}"] if pattern and not re.fullmatch(pattern, value) else []


@contextlib.contextmanager
def deliberately_wrong() -> Iterator[None]:
    """Let this task's and its children's requests be wrong: the test is about their refusal."""
    token = _on_purpose.set(True)
    try:
        yield
    finally:
        _on_purpose.reset(token)


@dataclass
class Auditor:
    """Holds what `FirecrackerApi` sends against the description, and keeps the faults found."""

    description: Description
    wrong: list[str] = field(default_factory=list)
    seen: int = 0

    def audit(self, method: str, path: str, body: Any) -> None:
        """Look at one request."""
        self.seen += 1
        if not _on_purpose.get():
            self.wrong += self.description.violations(method, path, body)

    def take(self) -> list[str]:
        """Return what was wrong since the last time."""
        wrong, self.wrong = self.wrong, []
        return wrong

    @contextlib.contextmanager
    def listening(self, api: type[FirecrackerApi]) -> Iterator[None]:
        """Look at all that goes out through this class.

        The requests themselves go out as they would without.
        """
        original = api._exchange
        auditor = self

        async def exchange(
            self: FirecrackerApi, method: str, path: str, body: dict[str, Any] | None, timeout_s: float | None
        ) -> Any:
            auditor.audit(method, path, body)
            return await original(self, method, path, body, timeout_s)

        api._exchange = exchange  # type: ignore[method-assign]
        try:
            yield
        finally:
            api._exchange = original  # type: ignore[method-assign]

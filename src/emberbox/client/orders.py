"""What is asked of a job, turned into the request's body."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput
from emberbox.model import RunParameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Content = str | bytes | Path
"""Text, bytes, or a file on this machine."""


class JobParameters(RunParameters, total=False):
    """How code is run: as by `emberbox.RunOptions`, and by these. What is left out has the server's default.

    - `name`: for people. `labels`: to find it again.
    - `args`, `stdin`: the program's arguments and input. `interactive`: leave its input open.
    - `files`: path in the work folder → content; put there first. `artifacts`: globs of files that
    are kept afterwards.
    - `priority`: -10 to 10, higher ones start first. `retries`: how often it is repeated when the
    program fails.
    - `webhook`: an address that is told of its end, or `{"url", "secret"}`.
    """

    name: str
    args: Sequence[str]
    stdin: str | bytes
    interactive: bool
    files: Mapping[str, Content]
    artifacts: Sequence[str]
    priority: int
    retries: int
    labels: Mapping[str, str]
    webhook: str | Mapping[str, str]


def encode_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON of `JobParameters`; reads the files that it names.

    Raises `InvalidInput` for one that cannot be read.
    """
    body = {name: value for name, value in options.items() if value is not None}
    if isinstance(stdin := body.get("stdin"), bytes):
        del body["stdin"]
        body["stdin_base64"] = base64.b64encode(stdin).decode()
    if "files" in body:
        body["files"] = {path: _encode_file(content) for path, content in body["files"].items()}
    if isinstance(webhook := body.get("webhook"), str):
        body["webhook"] = {"url": webhook}
    for name in ("args", "artifacts"):
        if name in body:
            if isinstance(body[name], str):
                raise InvalidInput(f"{name} is a list of texts, not one text")
            body[name] = [str(value) for value in body[name]]
    for name in ("env", "secret_env", "labels"):
        if name in body:
            body[name] = dict(body[name])
    return body


def encode_code(
    code: Content | None, runtime: str, entry: str | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the JSON of a job of inline code.

    Args:
        code: The script; None when `files` among the options holds it and `entry` names it.
        runtime: Name or alias.
        entry: Name of the script in the work folder; None for a file's own name, or the runtime's usual one.
        options: See `JobParameters`.
    """
    body = {**encode_options(options), "runtime": runtime}
    if isinstance(code, Path):
        entry = entry or code.name
        code = read_content(code)
    if isinstance(code, bytes):
        try:
            code = code.decode()
        except UnicodeDecodeError:
            entry = entry or "main"
            body["files"] = {**body.get("files", {}), entry: _encode_file(code)}
            code = None
    if code is not None:
        body["code"] = code
    if entry is not None:
        body["entry"] = entry
    return body


def read_content(path: Path) -> bytes:
    """Return a file's content. Raises `InvalidInput` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror or error}") from error


def _encode_file(content: Content) -> str | dict[str, str]:
    if isinstance(content, Path):
        content = read_content(content)
    if isinstance(content, str):
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}

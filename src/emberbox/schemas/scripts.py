"""Scripts: code that was uploaded."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  Pydantic looks at it when it runs

from emberbox.schemas.base import Answer


class ScriptFile(Answer):
    """One file of a script."""

    path: str
    size: int
    executable: bool = False


class Script(Answer):
    """An uploaded script. Lists leave out `files`."""

    id: str
    name: str
    runtime: str
    entry: str
    size: int
    file_count: int
    sha256: str
    labels: dict[str, str]
    created_at: datetime
    files: list[ScriptFile] | None = None

"""Scripts: code that was uploaded."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  Pydantic looks at it when it runs

from emberbox.schemas.base import Answer


class ScriptFile(Answer):
    """One file of a script. `sha256` is that of its bytes."""

    path: str
    size: int
    executable: bool = False
    sha256: str | None = None


class Script(Answer):
    """An uploaded script. `key_id` is the key that uploaded it. Lists leave out `files`.

    `sha256` names the content as a whole, with the paths and modes of its files: scripts with the
    same one run the same code.
    """

    id: str
    team_id: str
    key_id: str
    name: str
    runtime: str
    entry: str
    size: int
    file_count: int
    sha256: str
    labels: dict[str, str]
    created_at: datetime
    files: list[ScriptFile] | None = None

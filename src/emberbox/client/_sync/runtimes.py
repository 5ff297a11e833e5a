# Written by scripts/sync_client.py from _async/runtimes.py; change that instead.
"""Finding the runtime of a file by what the server offers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput, UnknownRuntime
from emberbox.schemas.runtimes import RuntimeInfo

if TYPE_CHECKING:
    from emberbox.client._sync.transport import Transport
    from emberbox.client.orders import Content


def runtime_for(transport: Transport, code: Content | None, entry: str | None) -> str:
    """Return the runtime that a file's name tells.

    Raises:
        InvalidInput: There is no name to tell it from.
        UnknownRuntime: The server has none for such files.
    """
    name = entry or (code.name if isinstance(code, Path) else None)
    if name is None:
        raise InvalidInput("name the runtime: runtime='python'")
    known = list(transport.pages(RuntimeInfo, "/v1/runtimes"))
    for runtime in known:
        if Path(name).suffix in runtime.extensions:
            return runtime.name
    names = ", ".join(sorted(runtime.name for runtime in known))
    raise UnknownRuntime(f"the server has no runtime for {name!r}; name one of: {names}")

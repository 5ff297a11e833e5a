"""The data of the microVM metadata service."""

from __future__ import annotations

from typing import Any

from tests.peers.firecracker.faults import Fault


class Mmds:
    """JSON that is kept until the process ends; a snapshot does not hold it."""

    def __init__(self) -> None:
        self._data: dict[str, Any] | None = None

    def put(self, data: dict[str, Any]) -> None:
        """Replace everything."""
        self._data = data

    def patch(self, changes: dict[str, Any]) -> None:
        """Merge `changes` (RFC 7396). Raises `Fault` when nothing was put before."""
        if self._data is None:
            raise Fault("The MMDS data store is not initialized.", status=404)
        self._data = _merged(self._data, changes)

    def get(self) -> dict[str, Any]:
        """Return everything; empty when nothing was put."""
        return self._data or {}


def _merged(target: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result

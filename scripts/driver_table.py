"""Writes the table in docs/drivers.md of what each driver can do, from the Protocols of emberbox.vmm.base; a test holds it."""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from emberbox.vmm import base
from emberbox.vmm.registry import DRIVERS, title

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).parents[1] / "docs/drivers.md"
_WHOSE = {"Driver": " Every driver.", "Machine": " Every driver's.", "LoadedSnapshot": " Every `SnapshotDriver`'s."}
BEGIN, END = "<!-- written by scripts/driver_table.py -->\n", "<!-- up to here -->\n"
ORDER = ("Driver", "Machine", "Snapshot")
"""Ends of the Protocols' names, which tell whose powers they are: the driver's, its machines', its opened snapshots'."""


def page(text: str) -> str:
    """Return the page `text` with its table written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def table() -> str:
    """Return the table: a row for each Protocol and each of its methods, a column for each driver."""
    classes = {name: _classes(name) for name in DRIVERS}
    lines = [f"| | {' | '.join(title(name) for name in DRIVERS)} | |", f"|---|{':-:|' * len(DRIVERS)}---|"]
    for protocol in sorted(protocols(), key=lambda protocol: (_owner(protocol), _optional(protocol))):
        able = [_able(classes[name][_owner(protocol)], protocol) for name in DRIVERS]
        lines.append(
            f"| **`{protocol.__name__}`** | {' | '.join(able)} | {_summary(protocol)}{_WHOSE.get(protocol.__name__, '')} |"
        )
        for member, function in _members(protocol):
            able = ["✓" if hasattr(classes[name][_owner(protocol)], member) else "–" for name in DRIVERS]
            lines.append(f"| `.{member}` | {' | '.join(able)} | {_summary(function)} |")
    return "\n".join(lines) + "\n"


def protocols() -> list[type]:
    """Return the Protocols that a driver, its machines and its snapshots may have, as they stand in the module."""
    return [kind for kind in vars(base).values() if isinstance(kind, type) and Protocol in kind.__bases__]


def _owner(protocol: type) -> int:
    return next(place for place, end in enumerate(ORDER) if protocol.__name__.endswith(end))


def _optional(protocol: type) -> bool:
    return protocol.__name__ not in _WHOSE


def _members(protocol: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(protocol).items():
        if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
            yield name, member


def _able(kind: type | None, protocol: type) -> str:
    return "✓" if kind is not None and all(hasattr(kind, name) for name, _ in _members(protocol)) else "–"


def _summary(thing: Any) -> str:
    text = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z`])", text)[0].replace("|", "\\|")


def _classes(name: str) -> list[type | None]:
    """Return the classes of a driver, of its machines and of its opened snapshots; None for what it has not."""
    driver = type(DRIVERS[name](Path("/nowhere"), {}))
    return [driver, _result(driver, "start"), _result(driver, "open_snapshot")]


def _result(driver: type, method: str) -> type | None:
    """Return the class that a method says it returns; the name is looked for in all modules of the driver's folder."""
    wanted = str(getattr(getattr(driver, method, None), "__annotations__", {}).get("return"))
    package = import_module(driver.__module__.rpartition(".")[0])
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        found = vars(import_module(module.name)).get(wanted)
        if isinstance(found, type):
            return found
    return None


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text()))

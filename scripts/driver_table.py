"""Writes into docs/drivers.md what each driver can do, from the Protocols of emberbox.vmm.base.

A test holds the page to that.
"""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from bench.reports.prose import item, wrapped

from emberbox.config import VmmSettings
from emberbox.vmm import base
from emberbox.vmm.registry import kinds, make_driver

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).parents[1] / "docs/drivers.md"
_WHOSE = {
    "Driver": " Every driver has it.",
    "Machine": " Every driver has it.",
    "LoadedSnapshot": " Every `SnapshotDriver` opens such.",
    "Standby": " Every `PreparingSnapshot` makes such.",
}
BEGIN, END = "<!-- written by scripts/driver_table.py -->\n", "<!-- up to here -->\n"
ORDER = ("Driver", "Machine", "Snapshot", "Standby")
"""Ends of the Protocols' names, which tell whose powers they are.

They are those of the driver, its machines, its opened snapshots, and of VMMs that wait.
"""


def page(text: str) -> str:
    """Return the page `text` with its part written anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}\n{meanings()}{END}{after}"


def table() -> str:
    """Return the table: a row for each Protocol, a column for each driver."""
    classes = {name: _classes(name) for name in kinds()}
    titles = [kind.title for kind in kinds().values()]
    lines = [f"| Protocol | {' | '.join(titles)} |", f"|---|{':-:|' * len(titles)}"]
    for protocol in _ordered():
        able = [_able(classes[name][_owner(protocol)], protocol) for name in classes]
        lines.append(f"| `{protocol.__name__}` | {' | '.join(able)} |")
    return "\n".join(lines) + "\n"


def meanings() -> str:
    """Return what each Protocol is for, and a list of its methods."""
    parts = []
    for protocol in _ordered():
        told = wrapped(f"{_summary(protocol)}{_WHOSE.get(protocol.__name__, '')}")
        methods = [item(f"`.{member}`: {_summary(function)}") for member, function in _members(protocol)]
        parts.append("\n".join([f"#### `{protocol.__name__}`\n", told, "", *methods]) + "\n")
    return "\n".join(parts)


def _ordered() -> list[type]:
    return sorted(protocols(), key=lambda protocol: (_owner(protocol), _optional(protocol)))


def protocols() -> list[type]:
    """Return the Protocols of a driver, its machines and its snapshots, in the module's order."""
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
    return re.split(r"(?<=\.) (?=[A-Z`])", text)[0]


def _classes(name: str) -> list[type | None]:
    """Return the classes of a driver, its machines, its opened snapshots and its standbys.

    None stands for one that the driver has not.
    """
    driver = type(make_driver(name, VmmSettings(), Path("/nowhere")))
    snapshot = _result(driver, "open_snapshot")
    standby = None if snapshot is None else _result(snapshot, "prepare")
    return [driver, _result(driver, "start"), snapshot, standby]


def _result(driver: type, method: str) -> type | None:
    """Return the class that a method says it returns.

    Its name is looked for in all modules of the driver's folder.
    """
    wanted = str(getattr(getattr(driver, method, None), "__annotations__", {}).get("return"))
    package = import_module(driver.__module__.rpartition(".")[0])
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        found = vars(import_module(module.name)).get(wanted)
        if isinstance(found, type):
            return found
    return None


if __name__ == "__main__":
    TARGET.write_text(page(TARGET.read_text()))

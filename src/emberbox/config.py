"""Settings: typed, grouped, read once at an entry point and passed down.

Later sources win: defaults, the settings file (`EMBERBOX_CONFIG`, else `emberbox/config.toml` in the XDG configuration
folder, or /etc/emberbox/config.toml for root), environment variables `EMBERBOX_<GROUP>_<NAME>` (and `EMBERBOX_DATA`), flags.
"""

from __future__ import annotations

import dataclasses
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from emberbox.errors import InvalidSettings

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class VmmSettings:
    """Which VMM runs the machines.

    Args:
        driver: `auto` or a driver's name (`qemu`).
        accelerator: `auto` probes by running code; `kvm` or `tcg` insists.
        boot_timeout_s: Bound of a cold boot, up to the agent's hello. Generous: a loaded host under emulation is slow.
        clone_timeout_s: Bound of a restore, up to the agent's first answer.
        uid_base: As root, the machine in slot N runs as the uid and gid `uid_base + N`.
    """

    driver: str = "auto"
    accelerator: str = "auto"
    boot_timeout_s: float = 120.0
    clone_timeout_s: float = 60.0
    uid_base: int = 790_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySettings:
    """How much of the host may be used.

    Args:
        machines: Live machines at once, at most 100; 0 derives it from the host's memory.
        launches: Machines being cloned at the same moment; 0 means two for each processor. More only makes each slower.
        queue_timeout_s: How long a caller waits for a slot before `CapacityExhausted`.
    """

    machines: int = 0
    launches: int = 0
    queue_timeout_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How many ready sandboxes are kept, for each template that is used.

    Args:
        minimum: Kept ready even without demand. 0 keeps none until there is demand.
        maximum: Never more than this; 0 turns pools off.
        window_s: Demand of this long ago still counts.
        health_s: Interval of the health check of ready sandboxes.
        stale_s: A ready sandbox older than this is replaced.
    """

    minimum: int = 0
    maximum: int = 0
    window_s: float = 60.0
    health_s: float = 20.0
    stale_s: float = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the engine.

    Args:
        data: Images, templates and what lives at run time; see `default_data_folder`.
        runtimes: Folders with runtimes of your own, besides the built-in ones; later ones win.
        vmm: See `VmmSettings`.
        capacity: See `CapacitySettings`.
        pool: See `PoolSettings`.
    """

    data: Path = field(default_factory=lambda: default_data_folder(os.environ))
    runtimes: tuple[Path, ...] = ()
    vmm: VmmSettings = field(default_factory=VmmSettings)
    capacity: CapacitySettings = field(default_factory=CapacitySettings)
    pool: PoolSettings = field(default_factory=PoolSettings)


def default_data_folder(environment: Mapping[str, str]) -> Path:
    """Return where data lives: `EMBERBOX_DATA`, else /var/lib/emberbox for root, else the XDG data home."""
    if given := environment.get("EMBERBOX_DATA"):
        return Path(given).absolute()
    if os.geteuid() == 0:
        return Path("/var/lib/emberbox")
    home = environment.get("XDG_DATA_HOME") or f"{environment.get('HOME', '/tmp')}/.local/share"  # noqa: S108
    return Path(home) / "emberbox"


def default_settings_file(environment: Mapping[str, str]) -> Path:
    """Return where the settings file is looked for."""
    if given := environment.get("EMBERBOX_CONFIG"):
        return Path(given)
    if os.geteuid() == 0:
        return Path("/etc/emberbox/config.toml")
    home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '/tmp')}/.config"  # noqa: S108
    return Path(home) / "emberbox/config.toml"


def load_settings(environment: Mapping[str, str] | None = None, **flags: Any) -> Settings:
    """Read the settings from all sources.

    Args:
        environment: Variables to read; None means the process's own.
        flags: Values of the top group (`data`, `runtimes`) that win over all; None values are passed over.

    Raises:
        InvalidSettings: A source has a mistake; the message names it and what is allowed.
    """
    variables = os.environ if environment is None else environment
    values = _from_file(default_settings_file(variables), required="EMBERBOX_CONFIG" in variables)
    values.setdefault("data", str(default_data_folder(variables)))
    for name, value in variables.items():
        _apply_variable(values, name, value)
    values.update({name: value for name, value in flags.items() if value is not None})
    settings: Settings = _build(Settings, values, "")
    return settings


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if required:
            raise InvalidSettings(f"EMBERBOX_CONFIG names {path}, which does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"{path}: {error}") from error


_GROUPS = {"vmm": VmmSettings, "capacity": CapacitySettings, "pool": PoolSettings}


def _apply_variable(values: dict[str, Any], name: str, value: str) -> None:
    if name == "EMBERBOX_DATA":
        values["data"] = value
    elif name == "EMBERBOX_RUNTIMES":
        values["runtimes"] = [part for part in value.split(":") if part]
    for group, settings in _GROUPS.items():
        prefix = f"EMBERBOX_{group.upper()}_"
        if name.startswith(prefix):
            key = name.removeprefix(prefix).lower()
            if key not in {f.name for f in dataclasses.fields(settings)}:
                raise InvalidSettings(f"{name} is no setting; {prefix}… takes {_names(settings)}")
            values.setdefault(group, {})[key] = value


def _build(kind: type[Any], values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise InvalidSettings(f"{where or 'settings'}: must be a table")
    hints = get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        path = f"{where}.{name}" if where else name
        if name not in hints:
            raise InvalidSettings(f"{path} is no setting; here are {_names(kind)}")
        arguments[name] = _convert(hints[name], value, path)
    return kind(**arguments)


def _convert(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path)  # type: ignore[arg-type]
    try:
        if hint is Path:
            return Path(value).absolute()
        if hint is str and isinstance(value, str):
            return value
        if hint in (int, float) and not isinstance(value, bool):
            return _not_negative(hint(value))
        if isinstance(value, list | tuple):
            return tuple(Path(part).absolute() for part in value)
    except (TypeError, ValueError):
        pass
    expected = {int: "a whole number from 0", float: "a number from 0", str: "text", Path: "a path"}.get(hint, "a list of paths")
    raise InvalidSettings(f"{path} must be {expected}, not {value!r}")


def _not_negative(value: float) -> float:
    if not value >= 0:
        raise ValueError
    return value


def _names(kind: type[Any]) -> str:
    return ", ".join(f.name for f in dataclasses.fields(kind))

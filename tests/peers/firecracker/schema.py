"""The bodies of Firecracker's requests: fields, types, bounds. What is not in the tables is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.peers.firecracker.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

MALFORMED = "An error occurred when deserializing the json body of a request:"
_U32 = 4_294_967_295
_BITS = {"u8": 8, "u16": 16, "u32": 32, "u64": 64, "usize": 64}
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}")
_STRUCTS = {
    "Balloon": "BalloonDeviceConfig",
    "BootSource": "BootSourceConfig",
    "Drive": "BlockDeviceConfig",
    "MachineConfiguration": "MachineConfig",
    "NetworkInterface": "NetworkInterfaceConfig",
    "Vsock": "VsockDeviceConfig",
}
"""What the real one calls some definitions."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a body, as it is described, and as the real one reads it where that is something else.

    Args:
        type: `string`, `integer`, `boolean`, `array` or `object`.
        required: Whether it must be there.
        enum: The strings that are allowed; None for any.
        minimum: Of an integer, inclusive, as described. The real one looks at it later, in words of
            its own, or not at all.
        maximum: Likewise.
        ref: Name of the definition of an object, of an array's items, or of a string with its own definition.
        items: Type of an array's items that have no definition of their own, or of an object's values.
        any_case: Whether an enum's case does not matter.
        number: The type of Rust that an integer is read as: it alone bounds what is taken.
        reads: What turns a string into a value; it raises `ValueError` with the real one's words.
            None takes any.
    """

    type: str
    required: bool = False
    enum: tuple[str, ...] | None = None
    minimum: int | None = None
    maximum: int | None = None
    ref: str | None = None
    items: str | None = None
    any_case: bool = False
    number: str = field(default="u64", compare=False)
    reads: Callable[[str], object] | None = field(default=None, compare=False)


def _mac(text: str) -> None:
    if not _MAC.fullmatch(text):
        raise ValueError("The provided MAC address is invalid.")


def _level(text: str) -> None:
    if text.lower() not in ("error", "warn", "warning", "info", "debug", "trace", "off"):
        raise ValueError("Invalid LevelFilter")


_STRING = Field("string")
_NAME = Field("string", required=True)
_BOOLEAN = Field("boolean")
_INTEGER = Field("integer")
_SIZE = Field("integer", required=True, number="u32")
_RATES = Field("object", ref="RateLimiter")

CPU_TEMPLATES = ("C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None")

DEFINITIONS: dict[str, dict[str, Field]] = {
    "Balloon": {
        "amount_mib": _SIZE,
        "deflate_on_oom": Field("boolean", required=True),
        "stats_polling_interval_s": Field("integer", number="u16"),
        "free_page_hinting": _BOOLEAN,
        "free_page_reporting": _BOOLEAN,
    },
    "BalloonUpdate": {"amount_mib": _SIZE},
    "BalloonStartCmd": {"acknowledge_on_stop": _BOOLEAN},
    "BalloonStatsUpdate": {"stats_polling_interval_s": Field("integer", required=True, number="u16")},
    "BootSource": {"boot_args": _STRING, "initrd_path": _STRING, "kernel_image_path": _NAME},
    "CpuConfig": {
        "kvm_capabilities": Field("array", items="string"),
        "cpuid_modifiers": Field("array", ref="CpuidLeafModifier"),
        "msr_modifiers": Field("array", ref="MsrModifier"),
        "reg_modifiers": Field("array", ref="ArmRegisterModifier"),
        "vcpu_features": Field("array", ref="VcpuFeatures"),
    },
    "CpuidLeafModifier": {
        "leaf": _NAME,
        "subleaf": _NAME,
        "flags": Field("integer", required=True),
        "modifiers": Field("array", required=True, ref="CpuidRegisterModifier"),
    },
    "CpuidRegisterModifier": {
        "register": Field("string", required=True, enum=("eax", "ebx", "ecx", "edx")),
        "bitmap": _NAME,
    },
    "MsrModifier": {"addr": _NAME, "bitmap": _NAME},
    "ArmRegisterModifier": {"addr": _NAME, "bitmap": _NAME},
    "VcpuFeatures": {"index": Field("integer", required=True), "bitmap": _NAME},
    "Drive": {
        "drive_id": _NAME,
        "partuuid": _STRING,
        "is_root_device": Field("boolean", required=True),
        "cache_type": Field("string", enum=("Unsafe", "Writeback")),
        "is_read_only": _BOOLEAN,
        "path_on_host": _STRING,
        "rate_limiter": _RATES,
        "io_engine": Field("string", enum=("Sync", "Async")),
        "socket": _STRING,
    },
    "PartialDrive": {"drive_id": _NAME, "path_on_host": _STRING, "rate_limiter": _RATES},
    "Pmem": {
        "id": _NAME,
        "path_on_host": _NAME,
        "root_device": _BOOLEAN,
        "read_only": _BOOLEAN,
        "rate_limiter": _RATES,
    },
    "PartialPmem": {"id": _NAME, "rate_limiter": _RATES},
    "InstanceActionInfo": {
        "action_type": Field(
            "string", required=True, enum=("FlushMetrics", "InstanceStart", "SendCtrlAltDel")
        ),
    },
    "Logger": {
        "level": Field(
            "string", enum=("Error", "Warning", "Info", "Debug", "Trace", "Off"), any_case=True, reads=_level
        ),
        "log_path": _STRING,
        "show_level": _BOOLEAN,
        "show_log_origin": _BOOLEAN,
        "module": _STRING,
    },
    "MachineConfiguration": {
        "vcpu_count": Field("integer", required=True, minimum=1, maximum=32, number="u8"),
        "mem_size_mib": Field("integer", required=True, number="usize"),
        "smt": _BOOLEAN,
        "cpu_template": Field("string", ref="CpuTemplate", enum=CPU_TEMPLATES),
        "track_dirty_pages": _BOOLEAN,
        "huge_pages": Field("string", enum=("None", "Transparent", "2M")),
    },
    "MemoryBackend": {
        "backend_type": Field("string", required=True, enum=("File", "Uffd")),
        "backend_path": _NAME,
    },
    "Metrics": {"metrics_path": _NAME, "emit_id": _BOOLEAN, "properties": Field("object", items="string")},
    "MmdsConfig": {
        "version": Field("string", enum=("V1", "V2")),
        "network_interfaces": Field("array", required=True, items="string"),
        "ipv4_address": _STRING,
        "imds_compat": _BOOLEAN,
    },
    "NetworkInterface": {
        "iface_id": _NAME,
        "host_dev_name": _NAME,
        "guest_mac": Field("string", reads=_mac),
        "mtu": Field("integer", minimum=68, maximum=65535, number="u16"),
        "rx_rate_limiter": _RATES,
        "tx_rate_limiter": _RATES,
    },
    "PartialNetworkInterface": {"iface_id": _NAME, "rx_rate_limiter": _RATES, "tx_rate_limiter": _RATES},
    "RateLimiter": {
        "bandwidth": Field("object", ref="TokenBucket"),
        "ops": Field("object", ref="TokenBucket"),
    },
    "TokenBucket": {
        "one_time_burst": Field("integer", minimum=0),
        "refill_time": Field("integer", required=True, minimum=0),
        "size": Field("integer", required=True, minimum=0),
    },
    "SnapshotCreateParams": {
        "snapshot_path": _NAME,
        "mem_file_path": _NAME,
        "snapshot_type": Field("string", enum=("Full", "Diff")),
    },
    "NetworkOverride": {"iface_id": _NAME, "host_dev_name": _NAME},
    "VsockOverride": {"uds_path": _NAME},
    "SnapshotLoadParams": {
        "snapshot_path": _NAME,
        "mem_file_path": _STRING,
        "mem_backend": Field("object", ref="MemoryBackend"),
        "enable_diff_snapshots": _BOOLEAN,
        "track_dirty_pages": _BOOLEAN,
        "resume_vm": _BOOLEAN,
        "network_overrides": Field("array", ref="NetworkOverride"),
        "vsock_override": Field("object", ref="VsockOverride"),
        "clock_realtime": _BOOLEAN,
        "huge_pages": Field("string", enum=("Snapshot", "None", "Transparent", "2M")),
    },
    "Vm": {"state": Field("string", required=True, enum=("Paused", "Resumed"))},
    "EntropyDevice": {"rate_limiter": _RATES},
    "SerialDevice": {"serial_out_path": _STRING, "rate_limiter": Field("object", ref="TokenBucket")},
    "MemoryHotplugConfig": {
        "total_size_mib": Field("integer", maximum=_U32, number="usize"),
        "slot_size_mib": Field("integer", minimum=128, maximum=_U32, number="usize"),
        "block_size_mib": Field("integer", minimum=2, maximum=_U32, number="usize"),
    },
    "MemoryHotplugSizeUpdate": {
        "requested_size_mib": Field("integer", minimum=0, maximum=_U32, number="usize")
    },
    "Vsock": {
        "guest_cid": Field("integer", required=True, minimum=3, number="u32"),
        "uds_path": _NAME,
        "vsock_id": _STRING,
    },
}


def check(
    definition: str, body: Any, *, unknown: Collection[str] = (), partial: bool = False
) -> dict[str, Any]:
    """Return `body` when it is what `definition` says. Raises `Fault`.

    Args:
        definition: A key of `DEFINITIONS`.
        body: What came.
        unknown: Fields that this release does not know.
        partial: Whether required fields may be missing.
    """
    if not isinstance(body, dict):
        raise _malformed(
            f"invalid type: {_kind(body)}, expected struct {_STRUCTS.get(definition, definition)}"
        )
    fields = {name: field for name, field in DEFINITIONS[definition].items() if name not in unknown}
    for name, value in body.items():
        if name not in fields:
            raise _malformed(f"unknown field `{name}`, expected {_choice(tuple(fields))}")
        if value is not None:
            _check_value(fields[name], value, unknown)
    for name, field_ in fields.items():
        if field_.required and not partial and body.get(name) is None:
            raise _malformed(f"missing field `{name}`")
    return {name: value for name, value in body.items() if value is not None}


def _check_value(field: Field, value: Any, unknown: Collection[str]) -> None:
    if _type(value) != field.type:
        raise _malformed(f"invalid type: {_kind(value)}, expected {_expected(field)}")
    if field.type == "integer":
        _check_integer(field, value)
    elif field.type == "string":
        _check_string(field, value)
    elif field.ref is not None and field.type == "object":
        check(field.ref, value, unknown=unknown)
    elif field.items is not None or field.ref is not None:
        for item in value.values() if isinstance(value, dict) else value:
            _check_value(Field(field.items or "object", ref=field.ref), item, unknown)


def _check_integer(field: Field, value: int) -> None:
    if not 0 <= value < 1 << _BITS[field.number]:
        raise _malformed(f"invalid value: integer `{value}`, expected {field.number}")


def _check_string(field: Field, value: str) -> None:
    if field.reads is not None:
        try:
            field.reads(value)
        except ValueError as error:
            raise _malformed(str(error)) from error
    elif field.enum is not None and value not in field.enum:
        raise _malformed(f"unknown variant `{value}`, expected {_choice(field.enum)}")


def _malformed(what: str) -> Fault:
    return Fault(f"{MALFORMED} {what} at line 1 column 1.")


def _choice(names: tuple[str, ...]) -> str:
    quoted = [f"`{name}`" for name in names]
    if len(quoted) == 2:
        return " or ".join(quoted)
    return ("one of " if len(quoted) > 2 else "") + (", ".join(quoted) or "no fields")


def _type(value: Any) -> str:
    names = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object", float: "number"}
    return names.get(type(value), "null")


def _expected(field: Field) -> str:
    return {"integer": field.number, "boolean": "a boolean", "array": "a sequence"}.get(
        field.type, field.ref or f"a {field.type}"
    )


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"string {value!r}".replace("'", '"')
    if isinstance(value, bool | int | float):
        return f"{_type(value)} `{str(value).lower()}`"
    return {"array": "sequence", "object": "map"}.get(_type(value), "null")

"""Chooses the kernel modules that a guest needs, and the order in which they go in.

An unpacked kernel package has no `modules.dep` (installing it makes one), so dependencies are read from the modules
themselves: the `depends=` entry of the `.modinfo` section.
"""

from __future__ import annotations

import lzma
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WANTED = (
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "virtio_net",
    "overlay",
)
"""What every guest needs beyond what the kernel has built in; a missing one is left out when it is built in."""

WANTED_ON_VSOCK = ("vmw_vsock_virtio_transport", "virtio_balloon")
"""What only a guest whose agent is reached by vsock needs: inserting them costs the others time for nothing."""

OFFERED_ON_VSOCK = ("virtio_mem",)
"""The same, where the kernel has it: some architectures do not."""

_SUFFIXES = (".ko", ".ko.xz")


@dataclass(frozen=True, slots=True)
class Module:
    """A kernel module.

    Args:
        name: Its name, without `.ko`.
        data: Its content.
        depends: Names of the modules that must go in before.
        vsock_only: True for one that only guests on the vsock channel insert.
    """

    name: str
    data: bytes
    depends: tuple[str, ...]
    vsock_only: bool = False

    @property
    def file_name(self) -> str:
        """The name of its file."""
        return f"{self.name}.ko"


def guest_modules(folder: Path) -> tuple[Module, ...]:
    """Return what guests insert: first what all of them do, then what those on the vsock channel do.

    Args:
        folder: `lib/modules/VERSION` of an unpacked kernel package.

    Raises:
        ImageBuildFailed: As `choose_modules`.
    """
    always = choose_modules(folder, WANTED)
    known = _files(folder).keys()
    wanted = (*WANTED, *WANTED_ON_VSOCK, *(name for name in OFFERED_ON_VSOCK if name in known))
    names = {module.name for module in always}
    rest = (module for module in choose_modules(folder, wanted) if module.name not in names)
    return (*always, *(replace(module, vsock_only=True) for module in rest))


def choose_modules(folder: Path, wanted: Sequence[str]) -> tuple[Module, ...]:
    """Return the wanted modules and all that they depend on, in an order in which each can be inserted.

    Args:
        folder: `lib/modules/VERSION` of an unpacked kernel package.
        wanted: Names, `-` and `_` alike.

    Raises:
        ImageBuildFailed: A module is neither there nor built in, or modules depend on each other in a circle.
    """
    files = _files(folder)
    built_in = _built_in(folder)
    loaded: dict[str, Module] = {}
    queue = [_plain(name) for name in wanted]
    while queue:
        name = queue.pop()
        if name in loaded or name in built_in:
            continue
        if name not in files:
            raise ImageBuildFailed(f"the kernel package has no module {name!r}, and it is not built in either")
        loaded[name] = _load(name, files[name])
        queue += loaded[name].depends
    return tuple(_ordered(loaded, [_plain(name) for name in wanted]))


def module_depends(data: bytes) -> tuple[str, ...]:
    """Return the names that a module's `.modinfo` section lists as `depends=`; raises `ValueError` where it is no module."""
    for entry in _section(data, b".modinfo").split(b"\0"):
        key, _, value = entry.partition(b"=")
        if key == b"depends":
            return tuple(_plain(name) for name in value.decode("ascii").split(",") if name)
    return ()


def _ordered(modules: Mapping[str, Module], wanted: Iterable[str]) -> list[Module]:
    done: dict[str, Module] = {}
    under_way: set[str] = set()

    def visit(name: str) -> None:
        if name in done or name not in modules:
            return
        if name in under_way:
            raise ImageBuildFailed(f"the kernel's modules depend on each other in a circle: {', '.join(sorted(under_way))}")
        under_way.add(name)
        for needed in modules[name].depends:
            visit(needed)
        under_way.discard(name)
        done[name] = modules[name]

    for name in wanted:
        visit(name)
    return list(done.values())


def _files(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.ko*")):
        for suffix in _SUFFIXES:
            if path.name.endswith(suffix):
                found[_plain(path.name.removesuffix(suffix))] = path
    return found


def _built_in(folder: Path) -> set[str]:
    listing = folder / "modules.builtin"
    if not listing.is_file():
        return set()
    return {_plain(Path(line).name.removesuffix(".ko")) for line in listing.read_text().splitlines() if line}


def _load(name: str, path: Path) -> Module:
    data = path.read_bytes()
    if path.name.endswith(".xz"):
        data = lzma.decompress(data)
    try:
        return Module(name, data, module_depends(data))
    except (ValueError, struct.error) as error:
        raise ImageBuildFailed(f"the kernel module {path.name} cannot be read: {error}") from error


def _section(data: bytes, wanted: bytes) -> bytes:
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    (table,) = struct.unpack_from("<Q", data, 0x28)
    size, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", data, table + index * size) for index in range(count)]
    names_at = headers[names_index][4]
    for name_at, _, _, _, offset, length in headers:
        start = names_at + name_at
        if data[start : start + len(wanted) + 1] == wanted + b"\0":
            return data[offset : offset + length]
    return b""


def _plain(name: str) -> str:
    return name.replace("-", "_")

"""Chooses the kernel modules that a guest needs, and the order in which they go in.

An unpacked kernel package has no `modules.dep` (installing it makes one), so dependencies are read
from the modules themselves: the `depends=` entry of the `.modinfo` section.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import ImageBuildFailed
from emberbox.images.kernels.module import Module, load_module, plain_name
from emberbox.images.kernels.wanted import OFFERED_ON_VSOCK, WANTED, WANTED_OF_OWN, WANTED_ON_VSOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")
_BUILT_IN = "modules.builtin"


def guest_modules(folder: Path) -> tuple[Module, ...]:
    """Return what guests insert: first what all of them do, then what those on the vsock channel do.

    Args:
        folder: `lib/modules/VERSION` of an unpacked kernel package.

    Raises:
        ImageBuildFailed: As `choose_modules`.
    """
    known = module_files(folder)
    offered = (name for name in OFFERED_ON_VSOCK if name in known)
    return _for_guests(folder, WANTED, (*WANTED_ON_VSOCK, *offered))


def modules_of_own(folder: Path) -> tuple[Module, ...]:
    """Return the modules of somebody's own kernel that guests insert, as far as they are there.

    Args:
        folder: Where the modules are, at any depth.

    Raises:
        ImageBuildFailed: As `choose_modules`.
    """
    known = module_files(folder)
    always = [name for name in WANTED_OF_OWN if name in known]
    on_vsock = [name for name in (*WANTED_ON_VSOCK, *OFFERED_ON_VSOCK) if name in known]
    return _for_guests(folder, always, on_vsock, complete=(folder / _BUILT_IN).is_file())


def _for_guests(
    folder: Path, always: Sequence[str], on_vsock: Sequence[str], *, complete: bool = True
) -> tuple[Module, ...]:
    for_all = choose_modules(folder, always, complete=complete)
    names = {module.name for module in for_all}
    further = choose_modules(folder, on_vsock, complete=complete)
    rest = (replace(module, vsock_only=True) for module in further if module.name not in names)
    return (*for_all, *rest)


def choose_modules(folder: Path, wanted: Sequence[str], *, complete: bool = True) -> tuple[Module, ...]:
    """Return the wanted modules and all that they depend on, in an order in which each can be inserted.

    Args:
        folder: `lib/modules/VERSION` of an unpacked kernel package.
        wanted: Names, `-` and `_` alike.
        complete: Whether the folder tells what is built in; if not, what is not there is taken for that.

    Raises:
        ImageBuildFailed: A module is neither there nor built in, or modules depend on each other in a circle.
    """
    files = module_files(folder)
    built_in = built_in_modules(folder)
    loaded: dict[str, Module] = {}
    queue = [plain_name(name) for name in wanted]
    while queue:
        name = queue.pop()
        if name in loaded or name in built_in:
            continue
        if name not in files:
            if not complete:
                continue
            raise ImageBuildFailed(
                f"the kernel package has no module {name!r}, and it is not built in either"
            )
        loaded[name] = load_module(name, files[name])
        queue += loaded[name].depends
    return tuple(_ordered(loaded, [plain_name(name) for name in wanted]))


def _ordered(modules: Mapping[str, Module], wanted: Iterable[str]) -> list[Module]:
    done: dict[str, Module] = {}
    under_way: set[str] = set()

    def visit(name: str) -> None:
        if name in done or name not in modules:
            return
        if name in under_way:
            raise ImageBuildFailed(
                f"the kernel's modules depend on each other in a circle: {', '.join(sorted(under_way))}"
            )
        under_way.add(name)
        for needed in modules[name].depends:
            visit(needed)
        under_way.discard(name)
        done[name] = modules[name]

    for name in wanted:
        visit(name)
    return list(done.values())


def module_files(folder: Path) -> dict[str, Path]:
    """Return the modules below a folder by name."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.ko*")):
        for suffix in _SUFFIXES:
            if path.name.endswith(suffix):
                found[plain_name(path.name.removesuffix(suffix))] = path
    return found


def built_in_modules(folder: Path) -> set[str]:
    """Return the names that the folder's list of built-in modules holds; none where there is no such list."""
    listing = folder / _BUILT_IN
    if not listing.is_file():
        return set()
    return {
        plain_name(Path(line).name.removesuffix(".ko")) for line in listing.read_text().splitlines() if line
    }

"""Chooses the kernel of new images: Debian's, a setting's, or the one taken into the store.

What was found out about a file is kept with the sizes and times of all files that went in, so that
a start of the engine costs a dozen looks at the file system, and a file that changed is looked into
again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.files.atomic import write_file
from emberbox.images.kernels.wanted import own_kernel_digest
from emberbox.images.records import PartRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from emberbox.images.layout import Layout

UNKNOWN = "not looked into yet"
"""Stands for the key of a kernel that a setting names and that is not in the store: no image has it."""


@dataclass(frozen=True, slots=True)
class KernelChoice:
    """What says which kernel is used.

    Args:
        layout: The store's folders.
        file: The kernel that a setting names, or `debian`; None for what was taken into the store,
            else Debian's.
        modules: The folder of its modules; None for none.
    """

    layout: Layout
    file: Path | str | None = None
    modules: Path | None = None

    @property
    def _pointer(self) -> Path:
        return self.layout.root / "kernel.json"

    @property
    def named(self) -> Path | None:
        """The file that a setting names; None where none does."""
        return None if self.file is None or isinstance(self.file, str) else self.file

    @property
    def own(self) -> bool:
        """Whether it is another kernel than Debian's."""
        return self.named is not None or (self.file is None and self._pointer.exists())

    def part(self) -> PartRecord | None:
        """Return the used kernel's record; None for Debian's, and for one not looked into yet."""
        if not self.own:
            return None
        key = _key_in(self._pointer) if self.named is None else self._stamped(self.named)
        part = None if key is None else read_record(self.layout.parts / "kernel" / f"{key}.json", PartRecord)
        # Another release may take other modules from it.
        return part if part is not None and part.inputs.get("taken") == own_kernel_digest() else None

    def key(self) -> str | None:
        """Return the used kernel's key: None for Debian's, `UNKNOWN` for one not looked into yet."""
        if not self.own:
            return None
        part = self.part()
        return UNKNOWN if part is None else part.key

    def take(self, key: str | None) -> None:
        """Have new images get the kernel with that key from now on; None for Debian's."""
        if key is None:
            self._pointer.unlink(missing_ok=True)
        else:
            write_file(self._pointer, json.dumps({"part": key}), mode=0o644, durable=True)

    def remember(self, file: Path, modules: Path | None, sources: Iterable[Path], key: str) -> None:
        """Note that these files, as they are now, are the kernel with that key."""
        place = self._stamp_file(file, modules)
        place.parent.mkdir(exist_ok=True)
        stamps = [_stamp(path) for path in sources]
        write_file(place, json.dumps({"sources": stamps, "part": key}), mode=0o644, durable=True)

    def _stamped(self, file: Path) -> str | None:
        try:
            kept = json.loads(self._stamp_file(file, self.modules).read_bytes())
            same = all(_stamp(Path(stamp[0])) == stamp for stamp in kept["sources"])
            return str(kept["part"]) if same and kept["sources"] else None
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            return None

    def _stamp_file(self, file: Path, modules: Path | None) -> Path:
        name = hashlib.sha256(f"{file.resolve()}\0{modules and modules.resolve()}".encode()).hexdigest()[:32]
        return self.layout.root / "kernels" / f"{name}.json"


def _key_in(pointer: Path) -> str | None:
    try:
        return str(json.loads(pointer.read_bytes())["part"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _stamp(path: Path) -> list[Any]:
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns, status.st_ino]

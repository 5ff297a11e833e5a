"""Finds runtimes by scanning folders, and the runtime for a name or a file."""

from __future__ import annotations

import difflib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import InvalidManifest, UnknownRuntime
from emberbox.runtimes.fields import MANIFEST_NAME
from emberbox.runtimes.manifest import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from emberbox.runtimes.runtime import Runtime

_SHEBANG_BYTES = 512


def builtin_folder() -> Path:
    """Return the folder of Emberbox's own runtimes: in the package, or at the top of a source tree."""
    package = Path(__file__).resolve().parent.parent
    packaged = package / "_builtin" / "runtimes"
    return packaged if packaged.is_dir() else package.parent.parent / "runtimes"


def imported_folder(data: Path) -> Path:
    """Return where runtimes lie that were imported from images: below the data folder."""
    return data / "runtimes"


def runtime_folders(data: Path, own: Sequence[Path]) -> list[Path]:
    """Return the folders of runtimes: the built-in ones, the imported ones, then `own`, which win."""
    return [builtin_folder(), imported_folder(data), *own]


def discover(folders: Sequence[Path]) -> RuntimeCatalog:
    """Read the manifests of all runtimes below `folders`.

    Args:
        folders: Each holds one folder for each runtime; a runtime of a later folder replaces the
            one of the same name of an earlier folder. Folders that do not exist are skipped.

    Raises:
        InvalidManifest: A manifest has a mistake, or two runtimes claim the same alias or extension.
    """
    found: dict[str, Runtime] = {}
    for folder in folders:
        for file in sorted(folder.glob(f"*/{MANIFEST_NAME}")):
            runtime = load(file)
            found[runtime.name] = runtime
    return RuntimeCatalog(tuple(found[name] for name in sorted(found)))


class RuntimeCatalog:
    """The runtimes there are. Iterates in the order of their names.

    Args:
        runtimes: Distinct names; raises `InvalidManifest` where two claim the same alias or extension.
    """

    def __init__(self, runtimes: Sequence[Runtime]) -> None:
        self._runtimes = tuple(runtimes)
        self._by_name = _index(self._runtimes, "aliases", lambda runtime: runtime.names)
        self._by_extension = _index(self._runtimes, "extensions", lambda runtime: runtime.extensions)

    def __iter__(self) -> Iterator[Runtime]:
        return iter(self._runtimes)

    def __len__(self) -> int:
        return len(self._runtimes)

    @property
    def names(self) -> tuple[str, ...]:
        """The runtimes' names, sorted."""
        return tuple(runtime.name for runtime in self._runtimes)

    def get(self, name: str) -> Runtime:
        """Return the runtime of a name or alias, upper and lower case alike; raises `UnknownRuntime`."""
        runtime = self._by_name.get(name.strip().lower())
        if runtime is None:
            near = difflib.get_close_matches(name.lower(), list(self._by_name), 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UnknownRuntime(f"there is no runtime {name!r}.{hint} {self._there_is()}")
        return runtime

    def for_file(self, path: Path, content: Path | bytes | None = None) -> Runtime:
        """Return the runtime of a script, by its extension, else by its first line (`#!…`).

        Raises `UnknownRuntime`.

        Reads at most the file's first 512 bytes, and only where the extension says nothing. A file
        that does not exist has no first line.

        Args:
            path: The script's name.
            content: Where its bytes lie, or the bytes, when not under its name; None reads `path`.
        """
        runtime = self._by_extension.get(path.suffix.lower()) or self._for_shebang(
            _first_line(path if content is None else content)
        )
        if runtime is None:
            raise UnknownRuntime(
                f"cannot tell the runtime of {path.name!r}: "
                f"no runtime has the extension {path.suffix or '(none)'!r}, "
                f"and no '#!' line names one. Name the runtime. {self._there_is()}"
            )
        return runtime

    def _for_shebang(self, line: str) -> Runtime | None:
        program = _shebang_program(line)
        if program is None:
            return None
        # `python3.11` is served by what serves `python3`, and `python3` by what serves `python`.
        for name in (program, program.partition(".")[0], re.sub(r"[-\d.]+$", "", program)):
            if name in self._by_name:
                return self._by_name[name]
        return next((runtime for runtime in self._runtimes if _is_run_by(runtime, program)), None)

    def _there_is(self) -> str:
        return f"There is: {', '.join(self.names)}." if self._runtimes else "No runtimes were found at all."


def _is_run_by(runtime: Runtime, program: str) -> bool:
    """Tell whether a runtime is what a `#!` line means; an imported image is only used by its name."""
    return runtime.image.imported is None and Path(runtime.argv[0]).name == program


def _index(
    runtimes: Sequence[Runtime], field: str, keys: Callable[[Runtime], Sequence[str]]
) -> dict[str, Runtime]:
    index: dict[str, Runtime] = {}
    for runtime in runtimes:
        for key in keys(runtime):
            other = index.setdefault(key.lower(), runtime)
            if other is not runtime:
                raise InvalidManifest(
                    str(runtime.manifest), field, f"{key!r} is claimed by {other.manifest} as well"
                )
    return index


def _first_line(source: Path | bytes) -> str:
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream:
            return stream.read(_SHEBANG_BYTES).partition(b"\n")[0].decode("utf-8", "replace")
    except OSError:
        return ""


def _shebang_program(line: str) -> str | None:
    if not line.startswith("#!"):
        return None
    words = line[2:].split()
    if words and Path(words[0]).name == "env":
        # `env` takes options and assignments before the program.
        words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return Path(words[0]).name if words else None

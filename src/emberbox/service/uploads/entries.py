"""Which file of an upload is run, and by which runtime."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput
from emberbox.files.paths import clean_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from emberbox.runtimes import Runtime, RuntimeCatalog
    from emberbox.service.uploads.bundles import BundleFile
    from emberbox.service.uploads.intake import Upload

_SHOWN = 10


def find_entry(
    upload: Upload, runtimes: RuntimeCatalog, runtime: str | None, entry: str | None
) -> tuple[Runtime, BundleFile]:
    """Return the runtime and the file to run.

    What is named is taken. Without an entry: the only file; else the first of the runtime's own
    names (`run.main` of its manifest) that is there; else the only file with one of its extensions,
    at the top, then anywhere. Without a runtime: that of the entry's extension or `#!` line; all
    runtimes take part in the search.

    Raises:
        InvalidInput: No file can be told from the others, or it is empty; the message lists the candidates.
        InvalidPath: `entry` cannot be a path.
        UnknownRuntime: There is no such runtime, or none for the file.
    """
    named = None if runtime is None else runtimes.get(runtime)
    file = (
        _named(upload, entry)
        if entry is not None
        else _search(upload.files, [named] if named else list(runtimes))
    )
    if not file.size:
        raise InvalidInput(f"{file.path!r} is empty: it has 0 bytes, and nothing in it could be run")
    return named or runtimes.for_file(Path(PurePosixPath(file.path).name), file.source), file


def _named(upload: Upload, entry: str) -> BundleFile:
    wanted = clean_path(entry)
    paths = {file.path: file for file in upload.files}
    found = paths.get(wanted)
    if found is None and upload.folder is not None:
        # The archive's own folder was left out; people name the file as they see it there.
        found = paths.get(wanted.removeprefix(f"{upload.folder}/"))
    if found is None:
        raise InvalidInput(f"there is no file {wanted!r} to run; the upload has {_listed(paths)}")
    return found


def _search(files: Sequence[BundleFile], runtimes: Sequence[Runtime]) -> BundleFile:
    if len(files) == 1:
        return files[0]
    paths = {file.path: file for file in files}
    firsts = (next((name for name in runtime.main if name in paths), None) for runtime in runtimes)
    # A variant of a runtime goes by the same names.
    mains = list(dict.fromkeys(main for main in firsts if main is not None))
    extensions = {extension.lower() for runtime in runtimes for extension in runtime.extensions}
    scripts = [path for path in paths if PurePosixPath(path).suffix.lower() in extensions]
    top = [path for path in scripts if "/" not in path]
    for candidates in (mains, top, scripts):
        if len(candidates) == 1:
            return paths[candidates[0]]
        if candidates:
            raise InvalidInput(
                "it is not clear which file is to be run: name one as entry (--entry). "
                f"There is {_listed(candidates)}"
            )
    expected = sorted({main for runtime in runtimes for main in runtime.main})
    raise InvalidInput(
        f"no file can be run by itself: name one as entry (--entry), or have one of {_listed(expected)}. "
        f"There is {_listed(paths)}"
    )


def _listed(paths: Iterable[str]) -> str:
    known = list(paths)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(repr(path[:100]) for path in known[:_SHOWN]) + more if known else "nothing"

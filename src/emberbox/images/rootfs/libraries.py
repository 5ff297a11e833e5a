"""Which packages of languages lie in a root file system, beside Debian's own: for the image's record."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_MOST_BYTES = 4 * 1024 * 1024
"""Of a file that describes a package; no real one comes near it."""
_Found = tuple[str, str] | None


def libraries_in(root: Path) -> dict[str, dict[str, str]]:
    """Return the versions of packages below a root, by `python`, `npm`, `ruby`, `r` and name.

    Those of which there are none are left out. Of a package that is there twice, the version of the
    path that sorts last is told. Blocks; reads some thousand names.
    """
    found: dict[str, dict[str, str]] = {}
    for kind, pattern, read in _KINDS:
        for file in sorted(root.glob(pattern)):
            described = read(file) if file.is_file() and not _leads_away(file, root) else None
            if described is not None:
                found.setdefault(kind, {})[described[0]] = described[1]
    return {kind: dict(sorted(names.items())) for kind, names in sorted(found.items())}


def _leads_away(file: Path, root: Path) -> bool:
    # A link in a root is meant for the guest: here it would lead to a file of the host.
    return any(path.is_symlink() for path in (file, *file.parents) if root in path.parents)


def _read_fields(file: Path) -> Mapping[str, str]:
    fields: dict[str, str] = {}
    for line in _text(file).splitlines():
        if not line.strip():
            break
        name, colon, value = line.partition(":")
        if colon and not line.startswith((" ", "\t")):
            fields.setdefault(name, value.strip())
    return fields


def _python(file: Path) -> _Found:
    fields = _read_fields(file)
    return _named(fields.get("Name"), fields.get("Version"))


def _r(file: Path) -> _Found:
    fields = _read_fields(file)
    return _named(fields.get("Package"), fields.get("Version"))


def _npm(file: Path) -> _Found:
    try:
        values = json.loads(_text(file))
    except ValueError:
        return None
    return _named(values.get("name"), values.get("version")) if isinstance(values, dict) else None


def _ruby(file: Path) -> _Found:
    match = re.fullmatch(r"(.+?)-(\d[\w.]*)", file.stem)
    return _named(match[1], match[2]) if match else None


def _named(name: object, version: object) -> _Found:
    return (
        (name, version) if isinstance(name, str) and isinstance(version, str) and name and version else None
    )


def _text(file: Path) -> str:
    with file.open("rb") as stream:
        return stream.read(_MOST_BYTES).decode("utf-8", "replace")


_Kind = tuple[str, str, "Callable[[Path], _Found]"]


def _kinds() -> Iterator[_Kind]:
    for top in ("usr/lib", "usr/local/lib"):
        for packages in (f"{top}/python3*/*-packages", f"{top}/python3*"):
            yield "python", f"{packages}/*.dist-info/METADATA", _python
            yield "python", f"{packages}/*.egg-info/PKG-INFO", _python
            yield "python", f"{packages}/*.egg-info", _python
        for modules in (f"{top}/node_modules", f"{top}/nodejs"):
            yield "npm", f"{modules}/*/package.json", _npm
            yield "npm", f"{modules}/@*/*/package.json", _npm
        for library in ("site-library", "library"):
            yield "r", f"{top}/R/{library}/*/DESCRIPTION", _r
    yield "npm", "usr/share/nodejs/*/package.json", _npm
    yield "npm", "usr/share/nodejs/@*/*/package.json", _npm
    for place in ("usr/share/rubygems-integration/*", "usr/lib/ruby/gems/*", "var/lib/gems/*"):
        yield "ruby", f"{place}/specifications/*.gemspec", _ruby
        yield "ruby", f"{place}/specifications/default/*.gemspec", _ruby


_KINDS = tuple(_kinds())

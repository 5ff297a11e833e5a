"""The table `image` of a manifest: what a root filesystem is made from."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from emberbox.errors import InvalidPath
from emberbox.files.globs import parse_glob
from emberbox.runtimes.fields import FILE_PATTERN, MANIFEST_NAME, NAME_PATTERN, Fields, read_table
from emberbox.runtimes.package_tools.registry import TOOLS
from emberbox.runtimes.runtime import DEFAULT_SUITE, ImageRecipe

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE_PATTERN = r"[a-z0-9][a-z0-9+.-]{1,127}"
_SUITE = r"[a-z]{2,32}"
_MOVING = ("experimental", "oldoldstable", "oldstable", "sid", "stable", "testing", "unstable")
"""Names that stand for another release from one day to the next."""
_DIGEST = r"sha256:[0-9a-f]{64}"


def image_recipe(fields: Fields, folder: Path, user: str | None) -> ImageRecipe:
    """Read the table.

    Args:
        fields: The table.
        folder: The runtime's.
        user: Whom programs run as, from another table.

    Raises:
        InvalidManifest: The first mistake found.
    """
    other = fields.optional_text(
        "same_as", NAME_PATTERN, "the name of a runtime in a folder beside this one's"
    )
    if other is not None:
        fields.finish()
        return replace(_image_of(fields, folder.parent / other), user=user)
    suite = _suite(fields)
    packages = fields.distinct(
        "packages", PACKAGE_PATTERN, "a Debian package's name: 2 to 128 of a-z, 0-9 and '+.-'"
    )
    files = _folders(fields, folder)
    remove = fields.texts("remove")
    for index, pattern in enumerate(remove):
        if not _spares_some(pattern):
            raise fields.mistake(
                f"remove[{index}]", f"must be a glob relative to the root, without '..', not {pattern!r}"
            )
    baked = {
        tool.name: names
        for tool in TOOLS.values()
        if (names := fields.distinct(tool.name, tool.entry, tool.entry_allowed))
    }
    imported = fields.optional_text(
        "imported", _DIGEST, "the digest of an image, sha256: and 64 of 0-9 and a-f"
    )
    for name, value in (("packages", packages), ("files", files), ("remove", remove)):
        if imported is not None and value:
            raise fields.mistake(
                name, "cannot be combined with 'imported': the imported image is the whole root filesystem"
            )
    fields.finish()
    return ImageRecipe(
        suite=suite,
        packages=packages,
        files=files,
        remove=remove,
        baked=MappingProxyType(baked),
        imported=imported,
        user=user,
    )


def _spares_some(pattern: str) -> bool:
    """Tell whether a text is a glob, and not of everything."""
    try:
        glob = parse_glob(pattern)
    except InvalidPath:
        return False
    return glob.folder != "." or any(set(part) - {"*"} for part in glob.parts)


def _suite(fields: Fields) -> str:
    allowed = "the name of a Debian release, such as bookworm or trixie"
    suite = fields.text("suite", _SUITE, allowed, default=DEFAULT_SUITE)
    if suite in _MOVING:
        raise fields.mistake(
            "suite", f"must be {allowed}; {suite!r} stands for another one from one day to the next"
        )
    return suite


def _image_of(fields: Fields, folder: Path) -> ImageRecipe:
    file = folder / MANIFEST_NAME
    if not file.is_file():
        raise fields.mistake("same_as", f"there is no runtime {folder.name!r} beside this one")
    theirs = Fields(file, read_table(file)).table("image")
    if theirs.has("same_as"):
        raise fields.mistake(
            "same_as", f"{folder.name!r} has itself the image of another runtime: name that one"
        )
    return image_recipe(theirs, folder, None)


def _folders(fields: Fields, folder: Path) -> tuple[Path, ...]:
    allowed = "the name of a folder beside the manifest, or ../RUNTIME/FOLDER for another runtime's beside it"
    names = fields.one_or_more("files", rf"(\.\./{NAME_PATTERN}/)?{FILE_PATTERN}", allowed)
    return tuple(_folder(fields, name, folder) for name in names)


def _folder(fields: Fields, name: str, folder: Path) -> Path:
    *other, name = name.removeprefix("../").split("/")
    files = beside(fields, "files", name, folder.parent.joinpath(*other) if other else folder)
    if not files.is_dir():
        raise fields.mistake("files", f"must be a folder beside the manifest; there is no folder {name!r}")
    return files


def beside(fields: Fields, field: str, name: str, folder: Path) -> Path:
    """Return the path of what lies in a folder under that name, and not behind a link."""
    path = folder / name
    if path.resolve().parent != folder.resolve():
        raise fields.mistake(field, f"{name!r} must lie beside the manifest, not behind a link")
    return path

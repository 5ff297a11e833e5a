"""The table `image` of a manifest: what a root filesystem is made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

from emberbox.runtimes.fields import FILE_PATTERN, MANIFEST_NAME, NAME_PATTERN, Fields, read_table
from emberbox.runtimes.runtime import ImageRecipe

PACKAGE_PATTERN = r"[a-z0-9][a-z0-9+.-]{1,127}"
_PIP = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(\[[A-Za-z0-9._,-]{1,127}\])?((==|>=|<=|~=|!=|<|>)[A-Za-z0-9.*+!,<>=~-]{1,127})?"
_NPM = r"(@[a-z0-9~-][a-z0-9._~-]{0,127}/)?[a-z0-9~-][a-z0-9._~-]{0,127}(@[A-Za-z0-9^~<>=.*-][A-Za-z0-9^~<>=.*+-]{0,127})?"
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
    other = fields.optional_text("same_as", NAME_PATTERN, "the name of a runtime in a folder beside this one's")
    if other is not None:
        fields.finish()
        return replace(_image_of(fields, folder.parent / other), user=user)
    packages = fields.distinct("packages", PACKAGE_PATTERN, "a Debian package's name: 2 to 128 of a-z, 0-9 and '+.-'")
    files = _folders(fields, folder)
    remove = fields.texts("remove")
    for index, pattern in enumerate(remove):
        parts = PurePosixPath(pattern).parts
        if not parts or pattern.startswith("/") or ".." in parts or all(set(part) <= {"*"} for part in parts):
            raise fields.mistake(f"remove[{index}]", f"must be a glob relative to the root, without '..', not {pattern!r}")
    pip = fields.distinct("pip", _PIP, "a requirement without spaces, such as numpy==1.26.4")
    npm = fields.distinct("npm", _NPM, "a package, such as lodash@4.17.21 or @scope/name@1")
    imported = fields.optional_text("imported", _DIGEST, "the digest of an image, sha256: and 64 of 0-9 and a-f")
    for name, value in (("packages", packages), ("files", files), ("remove", remove)):
        if imported is not None and value:
            raise fields.mistake(name, "cannot be combined with 'imported': the imported image is the whole root filesystem")
    fields.finish()
    return ImageRecipe(packages=packages, files=files, remove=remove, pip=pip, npm=npm, imported=imported, user=user)


def _image_of(fields: Fields, folder: Path) -> ImageRecipe:
    file = folder / MANIFEST_NAME
    if not file.is_file():
        raise fields.mistake("same_as", f"there is no runtime {folder.name!r} beside this one")
    theirs = Fields(file, read_table(file)).table("image")
    if theirs.has("same_as"):
        raise fields.mistake("same_as", f"{folder.name!r} has itself the image of another runtime: name that one")
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

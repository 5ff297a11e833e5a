"""From `runtime.toml` to a `Runtime`, each mistake told with its file, field and what is allowed."""

from __future__ import annotations

import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

from emberbox.errors import InvalidManifest
from emberbox.runtimes.fields import Fields
from emberbox.runtimes.fingerprint import folder_fingerprint
from emberbox.runtimes.runtime import (
    OUTPUT,
    PLACEHOLDER,
    SCRIPT,
    CompileRecipe,
    DefaultLimits,
    ImageRecipe,
    PackagesRecipe,
    Runtime,
    WaitingRecipe,
    WarmRecipe,
)

MANIFEST_NAME = "runtime.toml"

_MAX_BYTES = 65_536
NAME_PATTERN = r"[a-z][a-z0-9-]{0,31}"
NAME_ALLOWED = "1 to 32 of a-z, 0-9 and '-', starting with a letter"
_ALIAS = r"[a-z][a-z0-9.+#-]{0,31}"
_PACKAGE = r"[a-z0-9][a-z0-9+.-]{1,127}"
_PIP = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(\[[A-Za-z0-9._,-]{1,127}\])?((==|>=|<=|~=|!=|<|>)[A-Za-z0-9.*+!,<>=~-]{1,127})?"
_NPM = r"(@[a-z0-9~-][a-z0-9._~-]{0,127}/)?[a-z0-9~-][a-z0-9._~-]{0,127}(@[A-Za-z0-9^~<>=.*-][A-Za-z0-9^~<>=.*+-]{0,127})?"
_EXTENSION = r"\.[A-Za-z0-9][A-Za-z0-9_+-]{0,15}"
_DIGEST = r"sha256:[0-9a-f]{64}"
_USER = r"[0-9]{1,10}:[0-9]{1,10}"
_MAX_USER = 2**31 - 1
_FOLDER = r"/[^\0]{0,1023}"
_FILE = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}"


def load(file: Path) -> Runtime:
    """Read one manifest.

    Args:
        file: Path of a `runtime.toml`; its folder's name must be the runtime's name.

    Raises:
        InvalidManifest: The first mistake found.
    """
    fields = Fields(file, _parse(file))
    name = fields.text("name", NAME_PATTERN, NAME_ALLOWED)
    folder = file.parent.absolute()
    if name != folder.name:
        raise fields.mistake("name", f"must equal the folder's name, {folder.name!r}, not {name!r}")
    compiling, waiting = fields.optional_table("compile"), fields.optional_table("waiting")
    bringing = fields.optional_table("packages")
    compile_recipe = None if compiling is None else _compile(compiling)
    run = fields.table("run")
    cwd, user = run.optional_text("cwd", _FOLDER, "an absolute path in the guest"), _user(run)
    image = _image(fields.table("image"), folder, user)
    arguments = run.texts("arguments")
    argv, main = _run(run, compiled=compile_recipe is not None, imported=image.imported is not None)
    if arguments and any(SCRIPT in part or OUTPUT in part for part in argv):
        raise run.mistake("arguments", f"is for an image's own program; a command with {SCRIPT} gets a run's own arguments")
    runtime = Runtime(
        name=name,
        version=fields.text("version", r"\S(.{0,62}\S)?", "text of 1 to 64 characters"),
        description=fields.text("description", r".{0,200}", "text of at most 200 characters", default=""),
        aliases=_aliases(fields, name),
        extensions=fields.distinct("extensions", _EXTENSION, "a dot and 1 to 16 letters, digits, '_', '+' or '-'"),
        folder=folder,
        image=image,
        argv=argv,
        arguments=arguments,
        cwd=cwd,
        main=main,
        compile=compile_recipe,
        packages=None if bringing is None else _packages(bringing),
        waiting=None if waiting is None else _waiting(waiting),
        warm=_warm(fields.table("warm"), folder),
        limits=_limits(fields.table("limits")),
        env=fields.variables("env"),
        version_argv=fields.texts("version_argv", allowed="a part of the command"),
        fingerprint=folder_fingerprint(folder),
    )
    fields.finish()
    if runtime.holds and (cwd is not None or not runtime.takes_script):
        raise fields.mistake("waiting.hold", "is for commands that run a script in the work folder: leave it out")
    return runtime


def _parse(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise InvalidManifest(str(file), "(file)", f"is larger than {_MAX_BYTES} bytes")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise InvalidManifest(str(file), "(file)", f"cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidManifest(str(file), "(file)", f"is not TOML: {error}") from error


def _aliases(fields: Fields, name: str) -> tuple[str, ...]:
    aliases = fields.distinct("aliases", _ALIAS, "1 to 32 of a-z, 0-9 and '.+#-', starting with a letter")
    if name in aliases:
        raise fields.mistake("aliases", f"names the runtime itself, {name!r}; leave it out")
    return aliases


def _image(fields: Fields, folder: Path, user: str | None) -> ImageRecipe:
    packages = fields.distinct("packages", _PACKAGE, "a Debian package's name: 2 to 128 of a-z, 0-9 and '+.-'")
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


def _user(fields: Fields) -> str | None:
    allowed = "numbers of a user and a group, such as 65534:65534"
    user = fields.optional_text("user", _USER, allowed)
    if user is not None and any(int(number) > _MAX_USER for number in user.split(":")):
        raise fields.mistake("user", f"must be {allowed}, each at most {_MAX_USER}")
    return user


def _run(fields: Fields, *, compiled: bool, imported: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    argv = fields.texts("argv", at_least=1, allowed="a part of the command")
    script, output = _count(argv, SCRIPT), _count(argv, OUTPUT)
    own_program = imported and not compiled and script + output == 0
    if not own_program and (script + output != 1 or (output and not compiled)):
        allowed = f"{SCRIPT} or {OUTPUT}" if compiled else SCRIPT
        raise fields.mistake("argv", f"must hold {allowed} exactly once, where the script's path goes")
    if SCRIPT in argv[0]:
        raise fields.mistake("argv", f"must start with a program; {SCRIPT} goes behind it")
    main = fields.texts("main", _FILE, "a file's name, without folders")
    fields.finish()
    return argv, main


def _compile(fields: Fields) -> CompileRecipe:
    argv = fields.texts("argv", at_least=1, allowed="a part of the command")
    for placeholder in (SCRIPT, OUTPUT):
        if _count(argv, placeholder) != 1:
            raise fields.mistake("argv", f"must hold {placeholder} exactly once")
    usual = CompileRecipe(argv=argv)
    recipe = CompileRecipe(
        argv=argv,
        env=fields.variables("env"),
        timeout_s=fields.number("timeout_s", 0, 3600, usual.timeout_s),
        pids=fields.integer("pids", 1, 32_768, usual.pids) or usual.pids,
        cache=fields.flag("cache", usual.cache),
        hold=fields.flag("hold", usual.hold),
    )
    fields.finish()
    return recipe


def _packages(fields: Fields) -> PackagesRecipe:
    tool = fields.text("tool", r"pip|npm", "pip or npm")
    build = fields.distinct("build", _PACKAGE, "a Debian package's name: 2 to 128 of a-z, 0-9 and '+.-'")
    fields.finish()
    return PackagesRecipe(tool=tool, build=build)


def _waiting(fields: Fields) -> WaitingRecipe:
    hold = fields.optional_text("hold", r"open|read", "open or read")
    if hold is not None:
        fields.finish()
        return WaitingRecipe(hold=hold)
    argv = fields.texts("argv", at_least=1, allowed="a part of the command")
    if argv.count(PLACEHOLDER) != 1:
        raise fields.mistake("argv", f"must hold {PLACEHOLDER} exactly once, as an argument of its own")
    preload = fields.distinct("preload", r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", "a module's name")
    env = fields.variables("env")
    fields.finish()
    return WaitingRecipe(argv=argv, preload=preload, env=env)


def _warm(fields: Fields, folder: Path) -> WarmRecipe:
    allowed = "the name of a file beside the manifest"
    names = fields.distinct("run", _FILE, allowed)
    prime = fields.optional_text("prime", _FILE, allowed)
    files = tuple(_file(fields, "run", name, folder) for name in names)
    fields.finish()
    return WarmRecipe(run=files, prime=_file(fields, "prime", prime, folder) if prime is not None else None)


def _limits(fields: Fields) -> DefaultLimits:
    usual = DefaultLimits()
    limits = DefaultLimits(
        memory_mib=fields.integer("memory_mib", 64, 65_536, usual.memory_mib) or usual.memory_mib,
        vcpus=fields.integer("vcpus", 1, 32, usual.vcpus) or usual.vcpus,
        timeout_s=fields.number("timeout_s", 0, 86_400, usual.timeout_s),
        disk_mib=fields.integer("disk_mib", 1, 1_048_576, usual.disk_mib),
        pids=fields.integer("pids", 1, 32_768, usual.pids) or usual.pids,
    )
    fields.finish()
    return limits


def _folders(fields: Fields, folder: Path) -> tuple[Path, ...]:
    allowed = "the name of a folder beside the manifest, or ../RUNTIME/FOLDER for another runtime's beside it"
    names = fields.one_or_more("files", rf"(\.\./{NAME_PATTERN}/)?{_FILE}", allowed)
    return tuple(_folder(fields, name, folder) for name in names)


def _folder(fields: Fields, name: str, folder: Path) -> Path:
    *other, name = name.removeprefix("../").split("/")
    files = _beside(fields, "files", name, folder.parent.joinpath(*other) if other else folder)
    if not files.is_dir():
        raise fields.mistake("files", f"must be a folder beside the manifest; there is no folder {name!r}")
    return files


def _file(fields: Fields, field: str, name: str, folder: Path) -> Path:
    path = _beside(fields, field, name, folder)
    if not path.is_file():
        raise fields.mistake(field, f"there is no file {name!r} beside the manifest")
    return path


def _beside(fields: Fields, field: str, name: str, folder: Path) -> Path:
    path = folder / name
    if path.resolve().parent != folder.resolve():
        raise fields.mistake(field, f"{name!r} must lie beside the manifest, not behind a link")
    return path


def _count(argv: tuple[str, ...], placeholder: str) -> int:
    return sum(argument.count(placeholder) for argument in argv)

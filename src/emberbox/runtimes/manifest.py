"""From `runtime.toml` to a `Runtime`, each mistake told with its file, field and what is allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.bounds import DISK_MIB, MEMORY_MIB, PIDS, TIMEOUT_S, VCPUS, Range
from emberbox.runtimes.fields import FILE_PATTERN, NAME_ALLOWED, NAME_PATTERN, Fields, read_table
from emberbox.runtimes.fingerprint import folder_fingerprint
from emberbox.runtimes.image_table import PACKAGE_PATTERN, beside, image_recipe
from emberbox.runtimes.package_tools.registry import TOOLS
from emberbox.runtimes.runtime import (
    OUTPUT,
    PLACEHOLDER,
    SCRIPT,
    CompileRecipe,
    DefaultLimits,
    PackagesRecipe,
    Runtime,
    WaitingRecipe,
    WarmRecipe,
)

if TYPE_CHECKING:
    from pathlib import Path

_ALIAS = r"[a-z][a-z0-9.+#-]{0,31}"
_EXTENSION = r"\.[A-Za-z0-9][A-Za-z0-9_+-]{0,15}"
_USER = r"[0-9]{1,10}:[0-9]{1,10}"
_MAX_USER = 2**31 - 1
_COMPILE_S = Range(0, 3600, above=True)
_FOLDER = r"/[^\0]{0,1023}"


def load(file: Path) -> Runtime:
    """Read one manifest.

    Args:
        file: Path of a `runtime.toml`; its folder's name must be the runtime's name.

    Raises:
        InvalidManifest: The first mistake found.
    """
    fields = Fields(file, read_table(file))
    name = fields.text("name", NAME_PATTERN, NAME_ALLOWED)
    folder = file.parent.absolute()
    if name != folder.name:
        raise fields.mistake("name", f"must equal the folder's name, {folder.name!r}, not {name!r}")
    compiling, waiting = fields.optional_table("compile"), fields.optional_table("waiting")
    bringing = fields.optional_table("packages")
    compile_recipe = None if compiling is None else _compile(compiling)
    run = fields.table("run")
    cwd, user = run.optional_text("cwd", _FOLDER, "an absolute path in the guest"), _user(run)
    image = image_recipe(fields.table("image"), folder, user)
    arguments = run.texts("arguments")
    argv, main = _run(run, compiled=compile_recipe is not None, imported=image.imported is not None)
    if arguments and any(SCRIPT in part or OUTPUT in part for part in argv):
        raise run.mistake(
            "arguments", f"is for an image's own program; a command with {SCRIPT} gets a run's own arguments"
        )
    runtime = Runtime(
        name=name,
        version=fields.text("version", r"\S(.{0,62}\S)?", "text of 1 to 64 characters"),
        description=fields.text("description", r".{0,200}", "text of at most 200 characters", default=""),
        aliases=_aliases(fields, name),
        extensions=fields.distinct(
            "extensions", _EXTENSION, "a dot and 1 to 16 letters, digits, '_', '+' or '-'"
        ),
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
        raise fields.mistake(
            "waiting.hold", "is for commands that run a script in the work folder: leave it out"
        )
    return runtime


def _aliases(fields: Fields, name: str) -> tuple[str, ...]:
    aliases = fields.distinct("aliases", _ALIAS, "1 to 32 of a-z, 0-9 and '.+#-', starting with a letter")
    if name in aliases:
        raise fields.mistake("aliases", f"names the runtime itself, {name!r}; leave it out")
    return aliases


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
    main = fields.texts("main", FILE_PATTERN, "a file's name, without folders")
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
        timeout_s=fields.number("timeout_s", _COMPILE_S, usual.timeout_s),
        pids=fields.integer("pids", PIDS, usual.pids),
        cache=fields.flag("cache", usual.cache),
        hold=fields.flag("hold", usual.hold),
    )
    fields.finish()
    return recipe


def _packages(fields: Fields) -> PackagesRecipe:
    tool = fields.text("tool", "|".join(TOOLS), " or ".join(TOOLS))
    build = fields.distinct(
        "build", PACKAGE_PATTERN, "a Debian package's name: 2 to 128 of a-z, 0-9 and '+.-'"
    )
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
    preload = fields.distinct(
        "preload", r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*", "a module's name"
    )
    env = fields.variables("env")
    fields.finish()
    return WaitingRecipe(argv=argv, preload=preload, env=env)


def _warm(fields: Fields, folder: Path) -> WarmRecipe:
    allowed = "the name of a file beside the manifest"
    names = fields.distinct("run", FILE_PATTERN, allowed)
    prime = fields.optional_text("prime", FILE_PATTERN, allowed)
    files = tuple(_file(fields, "run", name, folder) for name in names)
    fields.finish()
    return WarmRecipe(run=files, prime=_file(fields, "prime", prime, folder) if prime is not None else None)


def _limits(fields: Fields) -> DefaultLimits:
    usual = DefaultLimits()
    limits = DefaultLimits(
        memory_mib=fields.integer("memory_mib", MEMORY_MIB, usual.memory_mib),
        vcpus=fields.integer("vcpus", VCPUS, usual.vcpus),
        timeout_s=fields.number("timeout_s", TIMEOUT_S, usual.timeout_s),
        disk_mib=fields.integer("disk_mib", DISK_MIB, usual.disk_mib),
        pids=fields.integer("pids", PIDS, usual.pids),
    )
    fields.finish()
    if limits.disk_mib is not None and limits.disk_mib > limits.memory_mib:
        raise fields.mistake("disk_mib", f"must be at most memory_mib ({limits.memory_mib}), where it lies")
    return limits


def _file(fields: Fields, field: str, name: str, folder: Path) -> Path:
    path = beside(fields, field, name, folder)
    if not path.is_file():
        raise fields.mistake(field, f"there is no file {name!r} beside the manifest")
    return path


def _count(argv: tuple[str, ...], placeholder: str) -> int:
    return sum(argument.count(placeholder) for argument in argv)

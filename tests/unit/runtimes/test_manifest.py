from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.errors import InvalidManifest
from emberbox.runtimes import load
from emberbox.runtimes.runtime import DEFAULT_SUITE

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL = """
name = "toy"
version = "1"
[run]
argv = ["toy", "{script}"]
"""


def write(tmp_path: Path, text: str, folder: str = "toy") -> Path:
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    file = place / "runtime.toml"
    file.write_text(text)
    return file


def test_minimal_manifest_has_the_usual_limits(tmp_path: Path) -> None:
    runtime = load(write(tmp_path, MINIMAL))
    assert (runtime.name, runtime.version, runtime.aliases, runtime.waiting, runtime.compile) == (
        "toy",
        "1",
        (),
        None,
        None,
    )
    assert (runtime.limits.memory_mib, runtime.limits.vcpus, runtime.limits.timeout_s) == (256, 1, 30.0)
    assert runtime.image.packages == () and runtime.image.files == ()
    assert len(runtime.fingerprint) == 64
    assert runtime.version_argv == ()


def test_the_command_that_tells_the_version(tmp_path: Path) -> None:
    assert load(write(tmp_path, f'version_argv = ["toy", "--version"]\n{MINIMAL}')).version_argv == (
        "toy",
        "--version",
    )
    with pytest.raises(InvalidManifest, match="version_argv: must be a list"):
        load(write(tmp_path, f'version_argv = "toy --version"\n{MINIMAL}'))


def test_full_manifest(tmp_path: Path) -> None:
    text = """
name = "toy"
version = "1.2"
description = "A toy"
aliases = ["t", "toy1"]
extensions = [".toy"]
[image]
packages = ["toy-interp", "libstdc++6"]
files = "files"
remove = ["usr/share/*/junk"]
[run]
argv = ["toy", "--file={script}", "-x"]
main = ["main.toy"]
[waiting]
argv = ["toy", "{placeholder}"]
preload = ["a.b"]
env = { A = "1" }
[warm]
run = ["warm.toy"]
prime = "prime.toy"
[limits]
memory_mib = 128
vcpus = 2
timeout_s = 5
disk_mib = 64
pids = 32
[env]
LEVEL = "3"
"""
    file = write(tmp_path, text)
    (file.parent / "files").mkdir()
    (file.parent / "warm.toy").write_text("w")
    (file.parent / "prime.toy").write_text("p")
    runtime = load(file)
    assert runtime.command("/work/s", ["a", "{script}"]) == ("toy", "--file=/work/s", "-x", "a", "{script}")
    assert (
        runtime.waiting is not None
        and runtime.waiting.env == {"A": "1"}
        and runtime.waiting.preload == ("a.b",)
    )
    assert runtime.warm.run == (file.parent / "warm.toy",) and runtime.warm.prime == file.parent / "prime.toy"
    assert (
        runtime.limits.memory_mib,
        runtime.limits.vcpus,
        runtime.limits.timeout_s,
        runtime.limits.disk_mib,
    ) == (
        128,
        2,
        5.0,
        64,
    )
    assert runtime.env == {"LEVEL": "3"}
    assert hash(runtime) == hash(load(file))


def test_compiled_runtime_fills_both_places(tmp_path: Path) -> None:
    text = (
        MINIMAL.replace('["toy", "{script}"]', '["{output}"]')
        + '[compile]\nargv = ["cc", "-o", "{output}", "{script}"]\n'
    )
    runtime = load(write(tmp_path, text))
    assert runtime.compile_command("/work/a.c") == ("cc", "-o", "/work/a.c.out", "/work/a.c")
    assert runtime.command("/work/a.c", ["1"]) == ("/work/a.c.out", "1")
    # Without a folder it would be looked for in PATH.
    assert runtime.command("a.c") == ("./a.c.out",)
    assert runtime.command("-a.c") == ("./-a.c.out",)
    assert runtime.command("folder/a.c") == ("folder/a.c.out",)


@pytest.mark.parametrize(
    ("text", "field", "part"),
    [
        ("name = [", "(file)", "is not TOML"),
        ('version = "1"', "name", "is missing"),
        (MINIMAL.replace('"toy"\nv', '"Toy"\nv'), "name", "starting with a letter"),
        (MINIMAL.replace('"toy"\nv', '"other"\nv'), "name", "must equal the folder's name"),
        (MINIMAL.replace('version = "1"', "version = 1"), "version", "in quotes"),
        (MINIMAL.replace("version", "verison"), "version", "'verison' a misspelling"),
        ('alaises = ["x"]' + MINIMAL, "alaises", "did you mean 'aliases'"),
        ('aliases = ["x", "x"]' + MINIMAL, "aliases", "twice"),
        ('aliases = ["toy"]' + MINIMAL, "aliases", "the runtime itself"),
        ('aliases = "x"' + MINIMAL, "aliases", "must be a list"),
        ('extensions = ["py"]' + MINIMAL, "extensions[0]", "a dot and"),
        (MINIMAL.replace(', "{script}"', ""), "run.argv", "exactly once"),
        (MINIMAL.replace('"{script}"', '"{script}", "{script}"'), "run.argv", "exactly once"),
        (MINIMAL.replace('"{script}"', '"{output}"'), "run.argv", "{script} exactly once"),
        (MINIMAL.replace('["toy", "{script}"]', '["{script}"]'), "run.argv", "start with a program"),
        (MINIMAL.replace('["toy", "{script}"]', "[]"), "run.argv", "at least 1 entry"),
        (MINIMAL + 'main = ["a/b"]', "run.main[0]", "without folders"),
        (MINIMAL + '[image]\npackages = ["Toy; rm"]', "image.packages[0]", "Debian package"),
        (MINIMAL + '[image]\nfiles = "gone"', "image.files", "no folder 'gone'"),
        (MINIMAL + '[image]\nfiles = ".."', "image.files", "beside the manifest"),
        (MINIMAL + '[image]\nremove = ["/etc"]', "image.remove[0]", "relative"),
        (MINIMAL + '[image]\nremove = ["usr/../etc"]', "image.remove[0]", "without '..'"),
        (MINIMAL + '[image]\nremove = ["**"]', "image.remove[0]", "glob"),
        (MINIMAL + '[waiting]\nargv = ["toy"]', "waiting.argv", "{placeholder} exactly once"),
        (
            MINIMAL + '[waiting]\nargv = ["toy", "{placeholder}"]\npreload = ["a b"]',
            "waiting.preload[0]",
            "module",
        ),
        (
            MINIMAL + '[waiting]\nargv = ["toy", "{placeholder}"]\nenv = {1a = "x"}',
            "waiting.env.1a",
            "variable",
        ),
        (MINIMAL + '[waiting]\nhold = "exec"', "waiting.hold", "open or read"),
        (MINIMAL + '[waiting]\nhold = "open"\nargv = ["toy", "{placeholder}"]', "waiting.argv", "hold"),
        (
            MINIMAL.replace("[run]", '[run]\ncwd = "/srv"') + '[waiting]\nhold = "open"',
            "waiting.hold",
            "work folder",
        ),
        (MINIMAL + '[warm]\nrun = ["gone"]', "warm.run", "no file 'gone'"),
        (MINIMAL + '[warm]\nprime = "../x"', "warm.prime", "beside the manifest"),
        (MINIMAL + "[limits]\nmemory_mib = 8", "limits.memory_mib", "from 96 to 65536"),
        (MINIMAL + "[limits]\nvcpus = true", "limits.vcpus", "whole number"),
        (MINIMAL + "[limits]\ntimeout_s = 0", "limits.timeout_s", "above 0"),
        (MINIMAL + "[limits]\ntimeout = 3", "limits.timeout", "did you mean 'timeout_s'"),
        (MINIMAL + "[env]\nA = 1", "env.A", "in quotes"),
        (MINIMAL + "[compile]\n", "compile.argv", "at least 1"),
        (MINIMAL + '[compile]\nargv = ["cc", "{script}"]', "compile.argv", "{output} exactly once"),
        ("limits = 3" + MINIMAL, "limits", "must be a table"),
    ],
)
def test_mistakes_name_file_field_and_what_is_allowed(
    tmp_path: Path, text: str, field: str, part: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(InvalidManifest) as caught:
        load(file)
    assert caught.value.file == str(file)
    assert caught.value.field == field
    assert part in caught.value.problem


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    file = write(tmp_path, MINIMAL + '[image]\nfiles = "files"')
    (file.parent / "files").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidManifest, match="behind a link"):
        load(file)


def test_missing_and_huge_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match="cannot be read"):
        load(tmp_path / "toy" / "runtime.toml")
    with pytest.raises(InvalidManifest, match="larger than"):
        load(write(tmp_path, "#" * 70_000))


def test_files_may_come_from_several_folders(tmp_path: Path) -> None:
    file = write(tmp_path, MINIMAL + '[image]\nfiles = ["files", "../other/files"]')
    folders = (file.parent / "files", file.parent.parent / "other" / "files")
    for folder in folders:
        folder.mkdir(parents=True)
    assert load(file).image.files == folders
    with pytest.raises(InvalidManifest, match="twice"):
        load(write(tmp_path, MINIMAL + '[image]\nfiles = ["files", "files"]'))


def test_an_image_may_be_another_runtimes(tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "files").mkdir(parents=True)
    (other / "runtime.toml").write_text(
        MINIMAL.replace("toy", "other") + '[image]\npackages = ["toy"]\nfiles = "files"\nremove = ["usr/doc"]'
    )
    file = write(tmp_path, MINIMAL.replace("[run]", '[run]\nuser = "1:2"') + '[image]\nsame_as = "other"')
    image, theirs = load(file).image, load(other / "runtime.toml").image
    assert (image.packages, image.files, image.remove, image.user) == (
        ("toy",),
        (other / "files",),
        ("usr/doc",),
        "1:2",
    )
    assert theirs.user is None
    file.write_text(MINIMAL + '[image]\nsame_as = "other"\npackages = ["more"]')
    with pytest.raises(InvalidManifest, match=r"image\.packages"):
        load(file)
    (other / "runtime.toml").write_text('[image]\nsame_as = "toy"')
    file.write_text(MINIMAL + '[image]\nsame_as = "other"')
    with pytest.raises(InvalidManifest, match="name that one"):
        load(file)
    file.write_text(MINIMAL + '[image]\nsame_as = "gone"')
    with pytest.raises(InvalidManifest, match=r"image\.same_as.*no runtime 'gone' beside"):
        load(file)


def test_an_image_names_its_release(tmp_path: Path) -> None:
    other = load(
        write(
            tmp_path, MINIMAL.replace('name = "toy"', 'name = "other"') + '[image]\nsuite = "trixie"', "other"
        )
    )
    assert other.image.suite == "trixie"
    assert load(write(tmp_path, MINIMAL)).image.suite == DEFAULT_SUITE == "bookworm"
    assert load(write(tmp_path, MINIMAL + '[image]\nsame_as = "other"')).image.suite == "trixie"
    for wrong, told in (
        ("stable", "stands for another one"),
        ("sid", "stands for another one"),
        ("13", "name of a Debian release"),
    ):
        with pytest.raises(InvalidManifest, match=rf"image\.suite.*{told}"):
            load(write(tmp_path, MINIMAL + f'[image]\nsuite = "{wrong}"'))


def test_files_may_be_another_runtimes(tmp_path: Path) -> None:
    file = write(tmp_path, MINIMAL + '[image]\nfiles = "../other/files"')
    with pytest.raises(InvalidManifest, match="no folder 'files'"):
        load(file)
    shared = file.parent.parent / "other" / "files"
    shared.mkdir(parents=True)
    assert load(file).image.files == (shared,)
    shared.rmdir()
    shared.symlink_to(tmp_path)
    with pytest.raises(InvalidManifest, match="not behind a link"):
        load(file)


@pytest.mark.parametrize(
    "name",
    ["../../other/files", "../files", "../other/../files", "../other/files/more", "other/files", "../.x/f"],
)
def test_files_lie_nowhere_else(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidManifest, match=r"image\.files"):
        load(write(tmp_path, MINIMAL + f'[image]\nfiles = "{name}"'))

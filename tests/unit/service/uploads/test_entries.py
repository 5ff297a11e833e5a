"""Which file is run, and by what."""

from __future__ import annotations

import pytest

from emberbox.errors import InvalidInput, InvalidPath, UnknownRuntime
from emberbox.runtimes import RuntimeCatalog, builtin_folder, discover
from emberbox.service.uploads.bundles import BundleFile
from emberbox.service.uploads.entries import find_entry
from emberbox.service.uploads.intake import Upload


@pytest.fixture(scope="module")
def runtimes() -> RuntimeCatalog:
    return discover([builtin_folder()])


def upload(*paths: str, folder: str | None = None, data: bytes = b"x") -> Upload:
    return Upload(
        [BundleFile(path, data) for path in paths], archive=len(paths) > 1, name="upload", folder=folder
    )


@pytest.mark.parametrize(
    ("paths", "runtime", "entry", "expected"),
    [
        (["a.py"], None, None, ("python", "a.py")),
        (["a.txt"], "python", None, ("python", "a.txt")),
        (["a.py"], "bash", None, ("bash", "a.py")),
        (["x/main.py", "main.py", "util.py"], None, None, ("python", "main.py")),
        (["__main__.py", "util.py"], None, None, ("python", "__main__.py")),
        (["main.py", "__main__.py"], None, None, ("python", "main.py")),
        (["main.sh", "tool.py", "x.py"], None, None, ("bash", "main.sh")),
        (["main.sh", "main.py"], "py", None, ("python", "main.py")),
        (["only.py", "data.csv", "lib/x.py"], None, None, ("python", "only.py")),
        (["data.csv", "lib/x.py"], None, None, ("python", "lib/x.py")),
        (["a.py", "b.py"], None, "b.py", ("python", "b.py")),
        (["a.py", "b.py"], None, "./b.py", ("python", "b.py")),
        (["a.py", "b.sh"], None, "b.sh", ("bash", "b.sh")),
        (["a.PY"], None, None, ("python", "a.PY")),
    ],
)
def test_the_rule(
    runtimes: RuntimeCatalog,
    paths: list[str],
    runtime: str | None,
    entry: str | None,
    expected: tuple[str, str],
) -> None:
    found, file = find_entry(upload(*paths), runtimes, runtime, entry)
    assert (found.name, file.path) == expected


def test_the_folder_that_was_left_out_may_be_named(runtimes: RuntimeCatalog) -> None:
    given = upload("a.py", "b.py", folder="repo-main")
    assert find_entry(given, runtimes, None, "repo-main/b.py")[1].path == "b.py"
    assert find_entry(given, runtimes, None, "b.py")[1].path == "b.py"


def test_a_first_line_names_the_runtime(runtimes: RuntimeCatalog) -> None:
    assert (
        find_entry(upload("tool", data=b"#!/usr/bin/env python3\n"), runtimes, None, None)[0].name == "python"
    )


@pytest.mark.parametrize(
    ("paths", "runtime", "entry", "message"),
    [
        (["a.py", "b.py"], None, None, r"not clear.*'a\.py', 'b\.py'"),
        (["main.py", "main.sh"], None, None, r"not clear.*main\.sh"),
        (["a.txt", "b.txt"], "python", None, r"main\.py.*'a\.txt', 'b\.txt'"),
        (["a.py"], None, "c.py", r"no file 'c\.py'.*'a\.py'"),
        ([f"{number:02}.py" for number in range(30)], None, None, r"20 more"),
    ],
)
def test_what_is_not_clear_lists_the_candidates(
    runtimes: RuntimeCatalog, paths: list[str], runtime: str | None, entry: str | None, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        find_entry(upload(*paths), runtimes, runtime, entry)


def test_mistakes(runtimes: RuntimeCatalog) -> None:
    with pytest.raises(UnknownRuntime):
        find_entry(upload("a.py"), runtimes, "cobol", None)
    with pytest.raises(UnknownRuntime):
        find_entry(upload("a.unknown"), runtimes, None, None)
    with pytest.raises(InvalidPath):
        find_entry(upload("a.py"), runtimes, None, "../a.py")
    with pytest.raises(InvalidInput, match="empty"):
        find_entry(upload("a.py", data=b""), runtimes, None, None)


def test_a_file_of_this_host_is_never_read_for_a_name(
    runtimes: RuntimeCatalog, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("here")
    (folder / "tool").write_text("#!/bin/bash\n")
    monkeypatch.chdir(folder)
    with pytest.raises(UnknownRuntime):
        find_entry(upload("tool"), runtimes, None, None)

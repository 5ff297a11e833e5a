"""No message that a caller may get to see names a place on the host."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import emberbox
from emberbox import errors
from emberbox.files.paths import without_folders

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(emberbox.__file__).parent
PARTS = ("blobs", "files", "guest", "images", "net", "sandbox", "service", "store", "vmm")
"""Whose errors reach those who call the API, or the SDK."""
OPERATORS_OWN = {
    "images/kernels/own.py": "a kernel's file, which the operator names",
    "images/oci/reference.py": "an image's reference, which the operator names",
    "images/oci/skopeo.py": "a file of credentials, which the operator names",
    "sandbox/files.py": "a file that the library's user names",
    "sandbox/packages/requests.py": "a file that the library's user names",
    "service/folder.py": "the data folder, which the operator names, before there is a service",
    "vmm/firecracker/host.py": "what emberbox doctor tells; the API leaves folders out of it",
    "vmm/firecracker/install/fetch.py": "emberbox setup",
    "vmm/firecracker/install/installation.py": "emberbox setup",
    "vmm/firecracker/install/sources.py": "emberbox setup",
    "vmm/firecracker/requests/api.py": "a request's path",
    "vmm/firecracker/jailer/rights.py": "what emberbox doctor tells; the API leaves folders out of it",
    "vmm/kvm/node.py": "/dev/kvm",
}
"""Modules whose messages may, and what they name."""
NAMES = {name for name in vars(errors) if isinstance(vars(errors)[name], type)}
PLACE = re.compile(
    r"(\w+\.)*_?(path|folder|root|file|place|parent|source|target|memory|socket|script|data)"
    r"|.+\.(path|parent|filename|folder|root)|str\(\w+\)|error|argv\[0\]"
)
"""What is no name, no number and no text of a guest: a path, or the system's own words, which hold one."""
SAFE = re.compile(r"error\.(strerror|message)|.+\.name|type\(\w+\)\.__name__|without_folders\(.+\)")
LOCAL_TEXTS = {
    ("images/oci/apply.py", "error"): "of an archive's bytes",
    ("images/rootfs/layers.py", "error"): "of an archive's bytes",
    ("images/kernels/own.py", "error"): "of a module's bytes",
    ("service/uploads/archives.py", "error"): "of an archive's bytes",
    ("service/jobs/submitting/orders.py", "error"): "of base 64",
    ("files/paths.py", "path"): "the caller's",
    ("images/oci/runtime_folder.py", "root.source"): "an image's reference",
    ("service/uploads/bundles.py", "file.path"): "the caller's",
    ("service/uploads/entries.py", "file.path"): "the caller's",
}


def _makes_error(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in NAMES


def _parts(message: ast.AST, names: dict[str, ast.expr]) -> Iterator[ast.FormattedValue]:
    """Yield what is put into a message, also by way of a name that holds a part of it."""
    for part in ast.walk(message):
        if isinstance(part, ast.FormattedValue):
            yield part
        if isinstance(part, ast.Name) and part.id in names:
            yield from _parts(names[part.id], {})


def _named_places(module: Path) -> list[str]:
    """Return where an error of a module names a place: its first argument does, that is what callers see."""
    inside, found = module.relative_to(SOURCE).as_posix(), set()
    tree = ast.parse(module.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in [tree, *functions]:
        names = {
            node.targets[0].id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not node.args or not _makes_error(node):
                continue
            for part in _parts(node.args[0], {} if function is tree else names):
                said = ast.unparse(part.value)
                if PLACE.fullmatch(said) and not SAFE.fullmatch(said) and (inside, said) not in LOCAL_TEXTS:
                    found.add(f"{inside}:{node.lineno}: {said}")
    return sorted(found)


@pytest.mark.parametrize("part", PARTS)
def test_no_error_names_a_place_on_the_host(part: str) -> None:
    modules = [
        module
        for module in sorted((SOURCE / part).rglob("*.py"))
        if module.relative_to(SOURCE).as_posix() not in OPERATORS_OWN
    ]
    assert modules
    assert [told for module in modules for told in _named_places(module)] == []


def test_what_looks_for_places_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.unit.test_messages.SOURCE", tmp_path)
    module = tmp_path / "bad.py"
    module.write_text(
        "raise NoSpace(f'full: {self._root}')\n"
        "raise VmmError(f'{path.parent}: {error.strerror}', detail=str(path))\n"
        "raise VmmError(f'{error}') from error\n"
        "raise VmmError(f'{path.name}: {without_folders(str(error))}')\n"
        "def by_a_name():\n"
        "    told = f'{root} is full'\n"
        "    raise NoSpace(f'{told}: free some')\n"
    )
    assert _named_places(module) == [
        "bad.py:1: self._root",
        "bad.py:2: path.parent",
        "bad.py:3: error",
        "bad.py:7: root",
    ]


def test_exceptions_are_still_there() -> None:
    assert [name for name in OPERATORS_OWN if not (SOURCE / name).is_file()] == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("mke2fs: cannot open /var/lib/emberbox/x/root.ext4", "mke2fs: cannot open root.ext4"),
        ("[Errno 2] No such file: '/data/a b/vmm.log'", "[Errno 2] No such file: 'a b/vmm.log'"),
        ("qemu: -drive file=/tmp/x/disk: no", "qemu: -drive file=disk: no"),
        ("see /dev/kvm and /proc/sys/kernel/pid_max", "see /dev/kvm and /proc/sys/kernel/pid_max"),
        ("http://10.0.0.1/a/b has no /work", "http://10.0.0.1/a/b has no /work"),
    ],
)
def test_what_tools_say_loses_its_folders(said: str, told: str) -> None:
    assert without_folders(said) == told

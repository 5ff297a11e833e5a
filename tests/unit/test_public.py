"""The names that people build on, and the errors that they catch."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import emberbox
from emberbox import errors
from emberbox.errors import EmberboxError, InvalidInput, InvalidManifest, RequirementMissing
from emberbox.model import Limits, RunResult, RunStatus

PUBLIC = [
    "AsyncClient",
    "Client",
    "CompileResult",
    "EmberboxError",
    "Engine",
    "FileEntry",
    "GuestMetrics",
    "Limits",
    "Output",
    "OutputFile",
    "Process",
    "RunMetrics",
    "RunOptions",
    "RunResult",
    "RunStatus",
    "Sandbox",
    "Settings",
    "load_settings",
    "run",
]


def _all_errors(root: type[EmberboxError] = EmberboxError) -> list[type[EmberboxError]]:
    return [
        root,
        *(
            found
            for child in root.__subclasses__()
            for found in _all_errors(child)
            if child.__module__ == errors.__name__
        ),
    ]


def test_the_public_names_are_these() -> None:
    assert emberbox.__all__ == PUBLIC
    for name in PUBLIC:
        assert getattr(emberbox, name) is not None
    assert set(PUBLIC) <= set(dir(emberbox))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = emberbox.nonsense


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import emberbox, sys; "
        "print([m for m in ('asyncio', 'typer', 'rich', 'subprocess') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_drawn_tree_of_errors_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ([│├└─ ]*)([A-Z]\w+)", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1] if depth else ""
    real = {
        kind.__name__: "" if kind is EmberboxError else kind.__bases__[0].__name__ for kind in _all_errors()
    }
    assert drawn == real


def test_each_error_has_a_code_of_its_own() -> None:
    kinds = _all_errors()
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes)
    assert all(kind.__doc__ for kind in kinds)


def test_messages_say_where_and_how_to_mend() -> None:
    assert str(InvalidManifest("a.toml", "run.argv", "must be a list")) == "a.toml: run.argv: must be a list"
    assert (
        str(RequirementMissing("no QEMU", mend="apt-get install q"))
        == "no QEMU\n  To mend it: apt-get install q"
    )


@pytest.mark.parametrize(
    "name", ["timeout_s", "cpu_s", "memory_mib", "pids", "open_files", "keep_bytes", "output_bytes"]
)
def test_limits_are_above_zero_or_none(name: str) -> None:
    assert getattr(Limits(**{name: None}), name) is None
    for value in (0, -1):
        with pytest.raises(InvalidInput, match=name):
            Limits(**{name: value})


def test_a_result_as_text_and_as_json() -> None:
    result = RunResult(status=RunStatus.SUCCEEDED, stdout_data=b"a\xff", stdout_bytes=10, exit_code=0)
    assert (result.ok, result.stdout, result.stdout_truncated, result.stderr_truncated) == (
        True,
        "a\ufffd",
        True,
        False,
    )
    values = result.to_dict()
    assert values["status"] == "succeeded"
    assert values["metrics"]["source"] == "sandbox"

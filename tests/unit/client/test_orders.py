"""What is asked of a job, as JSON that the server's own schemas take."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.client.orders import encode_code, encode_options
from emberbox.errors import InvalidInput
from emberbox.model import RunParameters
from emberbox.schemas.jobs import EncodedFile, RunOptions, SubmitJob

if TYPE_CHECKING:
    from pathlib import Path


def test_the_server_takes_all_options() -> None:
    options = {
        "name": "n",
        "args": ("a", "b"),
        "stdin": "in",
        "interactive": True,
        "env": {"A": "b"},
        "files": {"x": "text", "y": b"\xff"},
        "artifacts": ["*"],
        "timeout_s": 1.5,
        "cpu_s": 2.0,
        "memory_mib": 128,
        "vcpus": 1,
        "disk_mib": 10,
        "pids": 5,
        "output_bytes": 100,
        "network": "off",
        "priority": -1,
        "retries": 2,
        "labels": {"k": "v"},
        "webhook": "https://x.example/",
        "cold": True,
    }
    body = RunOptions.model_validate(encode_options(options))
    assert set(options) <= set(RunOptions.model_fields)
    assert set(RunOptions.model_fields) - set(options) <= {"stdin_base64", *RunParameters.__annotations__}
    assert (body.args, body.files["x"], body.files["y"]) == (["a", "b"], "text", EncodedFile(base64="/w=="))
    assert str(body.webhook.url if body.webhook else "") == "https://x.example/"


def test_what_is_none_is_left_to_the_server() -> None:
    assert encode_options({"timeout_s": None, "args": None, "cold": False}) == {"cold": False}


@given(st.binary(max_size=50))
def test_bytes_come_back(data: bytes) -> None:
    body = RunOptions.model_validate(encode_options({"stdin": data, "files": {"f": data}}))
    assert base64.b64decode(body.stdin_base64 or "") == data
    file = body.files["f"]
    assert (base64.b64decode(file.base64) if isinstance(file, EncodedFile) else file.encode()) == data


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("print(1)")
    assert encode_options({"files": {"a": tmp_path / "x.py"}}) == {"files": {"a": "print(1)"}}
    body = SubmitJob.model_validate(encode_code(tmp_path / "x.py", "python", None, {}))
    assert (body.code, body.entry) == ("print(1)", "x.py")
    for wrong in (tmp_path / "none.py", tmp_path):
        with pytest.raises(InvalidInput, match="cannot be read"):
            encode_code(wrong, "python", None, {})


def test_code_that_is_no_text_is_a_file() -> None:
    body = SubmitJob.model_validate(encode_code(b"\xff", "python", None, {"files": {"x": "y"}}))
    assert (body.code, body.entry, set(body.files)) == (None, "main", {"main", "x"})


@pytest.mark.parametrize("name", ["args", "artifacts"])
def test_a_text_is_no_list(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"{name} is a list"):
        encode_options({name: "abc"})

"""API, engine, manifests, settings and documentation tell the same bounds."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from emberbox.bounds import (
    GRACE_S,
    MACHINES,
    MEMORY_MIB,
    MEMORY_STEPS_MIB,
    OPTIONS,
    RETRIES,
    VCPUS,
    VCPUS_STEPS,
    WORDS_BYTES,
    Range,
    step_up,
)
from emberbox.config import JobSettings
from emberbox.errors import InvalidInput, InvalidManifest, InvalidSettings
from emberbox.guest import ExecRequest, WaitingRun
from emberbox.guest.frames import FrameType, encode, encode_object
from emberbox.guest.requests import InlineFile
from emberbox.model import RunOptions
from emberbox.runtimes import builtin_folder, discover
from emberbox.runtimes.manifest import load
from emberbox.sandbox.files import INLINE_BYTES
from emberbox.sandbox.machines.plan import size_of
from emberbox.sandbox.machines.runfolder import SLOTS
from emberbox.schemas import jobs as schemas
from emberbox.schemas.keys import RotateKey
from emberbox.schemas.system import PoolOrder

ROOT = Path(__file__).parents[2]
EVERY_OPTION = pytest.mark.parametrize("name", OPTIONS)


def _outside(allowed: Range) -> list[int]:
    return [allowed.least if allowed.above else allowed.least - 1, allowed.most + 1]


def _schema(model: Any, name: str) -> dict[str, Any]:
    (found,) = (one for one in model.model_json_schema()["properties"][name]["anyOf"] if "maximum" in one)
    return dict(found)


@EVERY_OPTION
def test_the_api_takes_what_the_engine_takes(name: str) -> None:
    allowed = OPTIONS[name]
    found = _schema(schemas.SubmitJob, name)
    assert found["exclusiveMinimum" if allowed.above else "minimum"] == allowed.least
    assert found["maximum"] == allowed.most


@EVERY_OPTION
def test_the_engine_refuses_what_lies_outside(name: str) -> None:
    usual: Any = RunOptions()
    for value in _outside(OPTIONS[name]):
        with pytest.raises(InvalidInput, match=f"{name} must be"):
            replace(usual, **{name: value}).check()
    replace(usual, **{name: OPTIONS[name].most}).check()


def test_every_number_among_the_options_has_bounds() -> None:
    numbers = {option.name for option in fields(RunOptions) if re.match(r"(int|float) ", str(option.type))}
    assert numbers == set(OPTIONS)


def test_what_was_stored_before_stays_readable() -> None:
    assert RunOptions(memory_mib=64, pids=100_000).to_json()["memory_mib"] == 64


def test_other_numbers_of_the_api() -> None:
    retries = schemas.SubmitJob.model_json_schema()["properties"]["retries"]
    assert (retries["minimum"], retries["maximum"]) == (RETRIES.least, RETRIES.most)
    assert PoolOrder.model_json_schema()["properties"]["ready"]["maximum"] == MACHINES == SLOTS
    assert RotateKey.model_json_schema()["properties"]["grace_s"]["maximum"] == GRACE_S.most
    for name in ("memory_mib", "vcpus"):
        found = _schema(PoolOrder, name)
        assert (found["minimum"], found["maximum"]) == (OPTIONS[name].least, OPTIONS[name].most)


@EVERY_OPTION
def test_the_documentation_tells_them(name: str) -> None:
    text = (ROOT / "docs/programs.md").read_text()
    row = re.search(rf"^\| `{name}` \| ([^|]+) \| ([\d,]*\d)", text, re.MULTILINE)
    assert row is not None
    allowed = OPTIONS[name]
    assert row[1] == f"{'above ' if allowed.above else ''}{allowed.least:,}"
    assert row[2] == f"{allowed.most:,}"


def test_the_documentation_tells_the_rest() -> None:
    text = " ".join((ROOT / "docs/programs.md").read_text().split())
    assert f"{WORDS_BYTES // 1024} KiB together" in text
    assert ", ".join(f"{size:,}" for size in MEMORY_STEPS_MIB[:10]) + " MiB and so on" in text
    assert f"{', '.join(map(str, VCPUS_STEPS[:-1]))} and {VCPUS_STEPS[-1]}" in text
    reference = (ROOT / "docs/api.md").read_text()
    assert f"`memory_mib`: whole number, {MEMORY_MIB}" in reference
    assert f"`vcpus`: whole number, {VCPUS}" in reference


@pytest.mark.parametrize("name", ["memory_mib", "vcpus", "disk_mib", "pids", "timeout_s"])
def test_manifests_take_the_same(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    file = folder / "runtime.toml"
    head = 'name = "toy"\nversion = "1"\n[run]\nargv = ["cat", "{script}"]\n[limits]\n'
    more = "" if name == "memory_mib" else f"memory_mib = {MEMORY_MIB.most}\n"
    for value in _outside(OPTIONS[name]):
        file.write_text(f"{head}{more}{name} = {value}\n")
        with pytest.raises(InvalidManifest, match=f"limits.{name}"):
            load(file)
    file.write_text(f"{head}{more}{name} = {OPTIONS[name].most}\n")
    assert getattr(load(file).limits, name) == OPTIONS[name].most


@pytest.mark.parametrize("name", ["memory_mib", "vcpus", "timeout_s", "retries"])
def test_settings_allow_no_more(name: str) -> None:
    most = {**OPTIONS, "retries": RETRIES}[name].most
    JobSettings(**{name: most})
    with pytest.raises(InvalidSettings, match=f"jobs.{name} must be"):
        JobSettings(**{name: most + 1})


def test_sizes_are_rounded_up_to_steps() -> None:
    python, cpp = (discover([builtin_folder()]).get(name) for name in ("python", "cpp"))
    sizes = [size_of(python, asked, None).memory_mib for asked in (96, 97, 200, 256, 257, 640, 65_536)]
    assert sizes == [96, 128, 256, 256, 384, 768, 65_536]
    assert [size_of(cpp, asked, None).memory_mib for asked in (None, 513, 640, 641)] == [640, 640, 640, 768]
    assert [size_of(python, None, asked).vcpus for asked in (None, 1, 3, 5, 32)] == [1, 1, 4, 8, 32]
    for memory_mib, vcpus in ((95, 1), (65_537, 1), (0, 1), (96, 0), (96, 33)):
        with pytest.raises(InvalidInput):
            size_of(python, memory_mib, vcpus)


def test_every_value_has_a_step() -> None:
    assert (MEMORY_STEPS_MIB[0], MEMORY_STEPS_MIB[-1]) == (MEMORY_MIB.least, MEMORY_MIB.most)
    assert (VCPUS_STEPS[0], VCPUS_STEPS[-1]) == (VCPUS.least, VCPUS.most)
    for own in (256, 640):
        got = [
            step_up(wanted, MEMORY_STEPS_MIB, own) for wanted in range(MEMORY_MIB.least, MEMORY_MIB.most + 1)
        ]
        assert got == sorted(got)
        assert len(set(got)) <= len(MEMORY_STEPS_MIB) + 1


@pytest.mark.parametrize("letter", ["a", '"', "\x01", "é", "\U0001f600"])
def test_words_within_the_bound_always_reach_the_agent(letter: str) -> None:
    args: tuple[str, ...] = ()
    piece = letter * 512
    while True:
        try:
            RunOptions(args=(*args, piece)).check()
        except InvalidInput as error:
            assert "80 KiB together" in error.message
            break
        args = (*args, piece)
    assert args
    request = ExecRequest(
        argv=("python3", "-B", "main.py", *args),
        files=(InlineFile("main.py", bytes(INLINE_BYTES)),),
        waiting=WaitingRun("main.py", args),
    )
    assert encode(FrameType.REQUEST, 1, encode_object(request.fields()))


def test_secret_variables_count_among_the_words() -> None:
    env = {"A": "x" * (WORDS_BYTES // 2)}
    RunOptions(env=env).check()
    for more in ({"secret_env": {"B": env["A"]}}, {"args": (env["A"],)}):
        with pytest.raises(InvalidInput, match="80 KiB together"):
            RunOptions(env=env, **more).check()


def test_texts_for_people() -> None:
    assert str(MEMORY_MIB) == "96 to 65,536"
    assert str(OPTIONS["timeout_s"]) == "above 0 to 86,400"
    assert 0 not in OPTIONS["timeout_s"]
    assert 0.5 in OPTIONS["timeout_s"]

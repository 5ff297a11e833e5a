"""The options of a run: one bag, which every way in knows whole."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from emberbox.client.orders import JobParameters
from emberbox.errors import InvalidInput
from emberbox.model import Limits, RunOptions, RunParameters
from emberbox.schemas import jobs as schemas
from emberbox.store.records import JobSpec

NAMES = {option.name for option in fields(RunOptions)}
SOME = RunOptions(args=["a", "b"], env={"A": "1"}, timeout_s=2.5, cpu_s=1, memory_mib=512, pids=7, cold=True)
STORED = {
    "args": ["a"],
    "env": {"A": "1"},
    "artifacts": ["*.txt"],
    "timeout_s": 5.0,
    "cpu_s": None,
    "memory_mib": 128,
    "vcpus": None,
    "disk_mib": None,
    "pids": 3,
    "output_bytes": 1000,
    "network": "off",
    "retries": 2,
    "interactive": True,
    "cold": True,
}
"""A job's column as version 0.1.0 wrote it."""


def test_calls_have_a_keyword_for_each_but_the_arguments() -> None:
    keywords = {name: hint.__forward_arg__ for name, hint in RunParameters.__annotations__.items()}
    assert keywords == {
        option.name: f"{str(option.type).removesuffix(' | None')} | None"
        for option in fields(RunOptions)
        if option.name != "args"
    }


def test_the_api_and_its_client_take_all_of_them() -> None:
    assert set(schemas.RunOptions.model_fields) >= NAMES
    assert {*JobParameters.__annotations__} >= NAMES
    assert set(schemas.JobLimits.model_fields) <= NAMES


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"args": "abc"}, "args is a list"),
        ({"args": ["a\0"]}, "cannot hold NUL"),
        ({"env": {"A": "\0"}}, "cannot hold NUL"),
        ({"env": {"": "x"}}, "cannot be empty"),
        ({"env": {"A=B": "x"}}, "or hold '='"),
        ({"secret_env": {"A": "\0"}}, "cannot hold NUL"),
        ({"secret_env": {"A=B": "x"}}, "or hold '='"),
        ({"env": {"A": "x"}, "secret_env": {"A": "y"}}, "'A' is in env and in secret_env"),
        ({"network": "all"}, "network is 'off'"),
        ({"timeout_s": 0}, "timeout_s must be above 0"),
        ({"cpu_s": -1}, "cpu_s must be above 0"),
        ({"pids": 0}, "pids must be above 0"),
        ({"output_bytes": -1}, "output_bytes must be above 0"),
    ],
)
def test_what_no_program_can_be_run_with(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        RunOptions(**values)


def test_what_a_call_gives_wins_and_none_changes_nothing() -> None:
    assert RunOptions.of(None, {}) == RunOptions()
    assert RunOptions.of(SOME, {"timeout_s": None, "env": None, "vcpus": 2}) == replace(SOME, vcpus=2)
    assert RunOptions.of(SOME, {"timeout_s": 1}, args=["c"]) == replace(SOME, timeout_s=1, args=("c",))
    with pytest.raises(TypeError, match="nonsense"):
        RunOptions.of(SOME, {"nonsense": 1})  # type: ignore[typeddict-unknown-key]


def test_bounds_are_those_named_and_the_usual_ones() -> None:
    usual = Limits(timeout_s=9, memory_mib=64, pids=None, keep_bytes=None)
    assert RunOptions(memory_mib=512).limits(usual) == usual
    assert SOME.limits(usual) == replace(usual, timeout_s=2.5, cpu_s=1, pids=7)


def test_secrets_of_the_environment_are_not_in_the_text() -> None:
    options = RunOptions(env={"TOKEN": "geheim"}, secret_env={"OTHER": "geheim"})
    assert "geheim" not in repr(JobSpec(options=options))
    assert options.variables == {"TOKEN": "geheim", "OTHER": "geheim"}


def test_secret_variables_are_never_written_down_with_the_options() -> None:
    assert "geheim" not in str(JobSpec(options=RunOptions(secret_env={"TOKEN": "geheim"})).to_json())


def test_a_stored_job_is_flat_and_stays_readable() -> None:
    spec = JobSpec.from_json(STORED)
    assert spec.options == RunOptions(
        args=["a"], env={"A": "1"}, timeout_s=5, memory_mib=128, pids=3, output_bytes=1000, cold=True
    )
    assert (spec.artifacts, spec.retries, spec.interactive) == (["*.txt"], 2, True)
    assert {name: value for name, value in spec.to_json().items() if name in STORED} == STORED
    assert set(spec.to_json()) == {*NAMES - {"secret_env"}, "artifacts", "retries", "interactive"}
    assert JobSpec.from_json({**STORED, "later": 1}) == spec
    assert JobSpec.from_json({}) == JobSpec()
    assert (JobSpec().options.timeout_s, JobSpec().options.output_bytes) == (30, 16 * 1024 * 1024)

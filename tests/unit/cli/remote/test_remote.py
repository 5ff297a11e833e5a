"""The commands against a server: what they make of options, of answers, and of what a guest put into them."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from emberbox.cli import exit_codes
from emberbox.cli.app import ALIASES, MODULES, WITHOUT_SERVER, make_app
from emberbox.cli.main import main
from emberbox.cli.remote import remote
from emberbox.cli.remote.jobs.jobs import _fields, _row
from emberbox.cli.remote.jobs.submit import job_parameters
from emberbox.cli.remote.remote import Remote
from emberbox.cli.tables import print_json, size
from emberbox.errors import (
    Conflict,
    EmberboxError,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RateLimited,
    ServerUnreachable,
)
from emberbox.schemas.jobs import Job
from tests.unit.client.conftest import job_values

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

HOSTILE = "\x1b]0;title\x07\x9b31mred\r[bold]"


def _job(**changes: object) -> Job:
    return Job.model_validate(job_values(**changes))


@pytest.mark.parametrize(
    ("status", "reason", "exit_code", "signal", "code"),
    [
        ("succeeded", "exited", 0, None, 0),
        ("failed", "exited", 3, None, 3),
        ("failed", "signalled", None, 15, 143),
        ("timed_out", "timeout", None, 9, 124),
        ("failed", "cpu_limit", None, 9, 124),
        ("failed", "out_of_memory", None, 9, 137),
        ("failed", "output_limit", None, 9, 125),
        ("failed", "start_failed", None, None, 127),
        ("cancelled", "cancelled", None, 9, 130),
        ("lost", "worker_lost", None, None, 70),
        ("lost", "vm_lost", None, None, 70),
        ("failed", "vm_died", None, None, 70),
        ("failed", "refused", None, None, 70),
        ("failed", "input_failed", None, None, 70),
        ("failed", None, 0, None, 70),
    ],
)
def test_exit_codes_of_jobs(
    status: str, reason: str | None, exit_code: int | None, signal: int | None, code: int
) -> None:
    assert exit_codes.of_job(_job(status=status, reason=reason, exit_code=exit_code, signal=signal)) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), 2),
        (InvalidInput("x"), 2),
        (NotAuthenticated("x"), 2),
        (NotAllowed("x"), 2),
        (Conflict("x"), 2),
        (ServerUnreachable("x"), 69),
        (RateLimited("x"), 70),
    ],
)
def test_exit_codes_of_errors(error: EmberboxError, code: int) -> None:
    assert exit_codes.of_error(error) == code


async def test_what_a_guest_wrote_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    artifact = {
        "id": "art_1",
        "path": HOSTILE,
        "size": 1,
        "sha256": "0",
        "created_at": "2030-01-01T00:00:00Z",
    }
    job = _job(name=HOSTILE, message=HOSTILE, labels={"k": HOSTILE}, args=[HOSTILE], artifacts=[artifact])
    columns = ("ID", "STATUS", "RUNTIME", "NAME", "CREATED", "RAN", "EXIT")
    assert await Remote().print_list([job], columns, _row)
    Remote().print_one(job, _fields(job))
    told = capsys.readouterr().out
    assert not [character for character in told if not character.isprintable() and character != "\n"]
    assert "[bold]" in told


def test_a_job_that_was_tried_again_tells_how_each_attempt_ended() -> None:
    time = "2030-01-01T00:00:00Z"
    ends = [
        {"attempt": number, "claimed_at": time, "ended_at": time, "outcome": outcome, "message": message}
        for number, (outcome, message) in enumerate((("interrupted", "why"), ("succeeded", None)), 1)
    ]
    told = dict(_fields(_job(attempt=2, attempts=ends)))
    assert (told["attempt 1"], told["attempt 2"]) == ("interrupted: why", "succeeded")
    assert not [name for name in dict(_fields(_job(attempt=1, attempts=ends[1:]))) if "attempt " in name]


async def test_json_is_json_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    job = _job(name=HOSTILE)
    assert await Remote(json=True).print_list([job], (), _row)
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == [HOSTILE]
    Remote(json=True).print_one(job, ())
    assert json.loads(capsys.readouterr().out)["name"] == HOSTILE
    Remote(json=True).print_id(job)
    assert json.loads(capsys.readouterr().out)["name"] == HOSTILE
    Remote().print_id(job)
    assert capsys.readouterr().out == f"{job.id}\n"
    print_json({"a": "b\nc"}, indent=None)
    assert capsys.readouterr().out == '{"a": "b\\nc"}\n'


async def test_an_empty_list_is_for_the_command_to_explain(capsys: pytest.CaptureFixture[str]) -> None:
    async def nothing() -> AsyncIterator[Job]:
        for job in list[Job]():
            yield job

    assert not await Remote().print_list(nothing(), ("ID",), _row)
    assert capsys.readouterr().out == ""
    assert await Remote(json=True).print_list(nothing(), ("ID",), _row)
    assert capsys.readouterr().out == "[]\n"


def test_labels() -> None:
    assert remote.read_labels(["a=b=c", "d="]) == {"a": "b=c", "d": ""}
    assert remote.label_of("a=b=c") == ("a", "b=c")
    for wrong in ("a", "=b", ""):
        with pytest.raises(InvalidInput, match="NAME=VALUE"):
            remote.read_labels([wrong])


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3072.0 GiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


NOTHING: dict[str, Any] = {
    "args": None,
    "env": None,
    "files": None,
    "artifacts": None,
    "stdin": None,
    "labels": None,
}
"""What a command has of its options when none was given."""


def test_options_that_were_not_given_are_left_out(tmp_path: Path) -> None:
    assert job_parameters(**NOTHING, cold=False, interactive=False, timeout_s=None) == {}
    (tmp_path / "in").write_bytes(b"x")
    some = {**NOTHING, "stdin": str(tmp_path / "in"), "labels": ["a=b"]}
    assert job_parameters(**some, cold=True, priority=0) == {
        "stdin": b"x",
        "labels": {"a": "b"},
        "cold": True,
        "priority": 0,
    }


def test_requirements_go_along_by_the_name_that_a_job_is_known_by(tmp_path: Path) -> None:
    (tmp_path / "for-tests.txt").write_bytes(b"six\n")
    (tmp_path / "package.json").write_bytes(b"{}")
    (tmp_path / "package-lock.json").write_bytes(b"[]")
    asked = job_parameters(**NOTHING, cold=False, requirements=str(tmp_path / "for-tests.txt"))
    assert asked == {"files": {"requirements.txt": b"six\n"}}
    asked = job_parameters(**NOTHING, cold=False, requirements=str(tmp_path / "package.json"))
    assert asked == {"files": {"package.json": b"{}", "package-lock.json": b"[]"}}
    with pytest.raises(InvalidInput, match="cannot tell what installs"):
        job_parameters(**NOTHING, cold=False, requirements=str(tmp_path / "setup.py"))


@pytest.mark.parametrize(
    "line",
    [
        "submit --help",
        "scripts upload --help",
        "scripts run --help",
        "jobs list --help",
        "logs -h",
        "keys create -h",
        "webhooks update -h",
        "usage -h",
        "status -h",
        "login -h",
        "profiles list -h",
    ],
)
def test_help_fits_80_columns(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize("variable", ["EMBERBOX_SERVER", "EMBERBOX_PROFILE"])
def test_mistakes_in_the_environment(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("EMBERBOX_SERVER", "EMBERBOX_PROFILE", "EMBERBOX_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv(variable, "nonsense here")
    assert main(["status"]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.startswith("emberbox: ")) == ("", True)


def test_a_key_is_not_taken_as_an_argument(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["login", "--server", "http://x", "--key", "ember_x"]) == 2
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    assert main(["login", "--server", "http://x"]) == 2
    assert "--key-stdin" in capsys.readouterr().err


def test_each_command_is_where_it_is_looked_for() -> None:
    whole = _commands(make_app())
    assert set(whole) == {*MODULES, *ALIASES}
    assert {name for name, command in whole.items() if command.hidden} == set(ALIASES)
    for name in (*MODULES, *ALIASES):
        assert name in _commands(make_app([name]))


def _commands(app: typer.Typer) -> dict[str, Any]:
    found: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    return found


def test_an_alias_is_the_same_commands() -> None:
    whole = _commands(make_app())
    for alias, name in ALIASES.items():
        assert {*whole[alias].commands} == {*whole[name].commands}


REMOTE = sorted({*MODULES} - WITHOUT_SERVER)


@pytest.mark.parametrize("name", REMOTE)
def test_each_command_of_a_server_says_which_in_the_same_way(name: str) -> None:
    command = _commands(make_app([name]))[name]
    for one in getattr(command, "commands", {name: command}).values():
        last = [option.opts for option in one.params][-2:]
        assert last == [["--server"], ["--profile"]]


@pytest.mark.parametrize(
    "line",
    [
        "{} jobs list",
        "jobs list {}",
        "--server http://127.0.0.1:9 --profile other jobs list {}",
        "{} submit -c 1 -r python",
        "status {}",
    ],
)
def test_a_server_is_named_before_or_behind_the_command(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[tuple[str | None, str | None]] = []

    def make_client(server: str | None, *, profile: str | None, **more: object) -> object:
        chosen.append((server, profile))
        raise InvalidInput("this far")

    monkeypatch.setattr("emberbox.client.AsyncClient", make_client)
    assert main(line.format("--server http://x --profile p").split()) == 2
    assert chosen == [("http://x", "p")]


@pytest.mark.parametrize(
    "line",
    [
        "--server http://x image list",
        "--profile p profiles list",
        "--server http://x run x.py",
    ],
)
def test_a_server_before_a_command_that_speaks_to_none(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert "takes no --server and no --profile before it" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["--help", "nonsense", "", "--data jobs runtimes --help", "--help jobs"])
def test_commands_are_found_whatever_the_line_holds(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(line.split())
    told = capsys.readouterr()
    if "runtimes" in line:
        assert told.out.startswith("Usage: emberbox runtimes")
    elif line == "nonsense":
        assert "No such command" in told.err
    else:
        assert all(name in told.out + told.err for name in MODULES)

"""The commands besides `run`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emberbox.cli.local import doctor, setup
from emberbox.cli.main import main
from emberbox.doctor import Finding, Level
from emberbox.doctor.needs import Needs
from emberbox.errors import RequirementMissing
from emberbox.images import BuildNeeds, Requirement
from tests.patience import PATIENCE_S
from tests.unit.cli.conftest import ROOT, environment


@pytest.fixture(autouse=True)
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMBERBOX_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("EMBERBOX_CONFIG", str(tmp_path / "config.toml"))
    (tmp_path / "config.toml").write_text("")
    return tmp_path / "data"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("emberbox 0.")


@pytest.mark.parametrize(
    "line", ["--help", "run --help", "setup -h", "images --help", "images build --help", "doctor -h"]
)
def test_help_fits_80_columns(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 0
    told = capsys.readouterr().out
    assert told.startswith("Usage: emberbox")
    assert max(map(len, told.splitlines())) <= 80


def test_run_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["run", "--help"])
    told = capsys.readouterr().out
    for code in ("2 ", "69", "70", "124", "125", "127", "128+N", "130", "137"):
        assert f"\n    {code}" in told


def test_runtimes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runtimes", "--json"]) == 0
    found = {runtime["name"]: runtime for runtime in json.loads(capsys.readouterr().out)}
    assert set(found["python"]) == {
        "name",
        "version",
        "description",
        "aliases",
        "extensions",
        "waiting",
        "built",
        "image_bytes",
        "folder",
    }
    assert found["python"]["waiting"] is True
    assert (found["python"]["built"], found["python"]["image_bytes"]) == (False, None)
    main(["runtimes"])
    assert "not built" in capsys.readouterr().out


def test_a_runtime_with_a_mistake_is_the_callers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine/bad").mkdir(parents=True)
    (tmp_path / "mine/bad/runtime.toml").write_text('name = "other"')
    (tmp_path / "config.toml").write_text(f'runtimes = ["{tmp_path}/mine"]')
    assert main(["runtimes"]) == 2
    assert "runtime.toml: name:" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["images", "list"], ["templates", "list"]])
def test_empty_lists(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    told = capsys.readouterr()
    assert (told.out, "emberbox setup" in told.err) == ("", True)
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_inspecting_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "inspect", "python"]) == 70
    assert "there is no image of 'python'" in capsys.readouterr().err


def test_building_an_unknown_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "build", "cobol"]) == 2
    assert "there is no runtime 'cobol'" in capsys.readouterr().err


def test_pruning_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["images", "prune", "--dry-run"]) == 0
    assert main(["templates", "prune"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "would remove 0 images and 0 files: 0 MB",
        "removed 0 templates: 0 MB",
    ]


def _finding(level: Level, title: str = "Thing") -> Finding:
    return Finding(key="k", title=title, level=level, found="[bold]as is[/]", follows="so", mend="mend it")


@pytest.mark.parametrize(("level", "code"), [(Level.OK, 0), (Level.WARNING, 0), (Level.MISSING, 1)])
def test_doctor(
    level: Level, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def diagnose(settings: Any) -> list[Finding]:
        return [_finding(level)]

    monkeypatch.setattr("emberbox.doctor.diagnose", diagnose)
    assert main(["doctor", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is (level is not Level.MISSING)
    assert told["findings"] == [
        {
            "key": "k",
            "title": "Thing",
            "level": str(level),
            "found": "[bold]as is[/]",
            "follows": "so",
            "mend": "mend it",
        }
    ]
    assert main(["doctor"]) == code
    text = capsys.readouterr().out
    assert "[bold]as is[/]" in text
    assert "$ mend it" in text
    assert "\x1b" not in text


def test_verdicts() -> None:
    assert doctor.verdict([_finding(Level.OK)]) == "Ready to run programs."
    assert doctor.verdict([_finding(Level.WARNING)]) == "Ready to run programs; 1 to look at."
    assert doctor.verdict([_finding(Level.MISSING), _finding(Level.WARNING)]).startswith(
        "1 missing, 1 to look at."
    )
    good = doctor.hardening([_finding(Level.OK), _finding(Level.BY_HAND)])
    assert good == "Set up for strangers' programs, as far as can be seen; 1 to see by hand."
    bad = doctor.hardening([_finding(Level.WARNING), _finding(Level.UNKNOWN)])
    assert bad.startswith("1 warning, 1 could not be seen, 0 to see by hand.")


@pytest.mark.parametrize(
    ("level", "code"), [(Level.OK, 0), (Level.BY_HAND, 0), (Level.WARNING, 1), (Level.UNKNOWN, 1)]
)
def test_doctor_of_production(
    level: Level, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def inspect_host(settings: Any) -> list[Finding]:
        return [_finding(level)]

    monkeypatch.setattr("emberbox.doctor.inspect_host", inspect_host)
    assert main(["doctor", "--production", "--json"]) == code
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["findings"][0]["level"]) == (code == 0, str(level))
    assert main(["doctor", "--production"]) == code
    assert capsys.readouterr().out.startswith(level.value.replace("_", " "))
    assert main(["doctor", "--production", "--all"]) == code


def test_what_is_fine_is_folded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def inspect_host(settings: Any) -> list[Finding]:
        return [
            _finding(Level.OK, title="Fine one"),
            _finding(Level.WARNING),
            _finding(Level.OK, title="Fine two"),
        ]

    monkeypatch.setattr("emberbox.doctor.inspect_host", inspect_host)
    main(["doctor", "--production"])
    folded = capsys.readouterr().out
    assert "Fine" not in folded
    assert "2 rows are fine: --all shows them" in folded
    assert "$ mend it" in folded
    main(["doctor", "--production", "--all"])
    told = capsys.readouterr().out
    assert ("Fine one" in told, "Fine two" in told, "--all" in told) == (True, True, False)


@pytest.mark.parametrize("columns", [80, 100])
def test_rows_fit_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("emberbox.cli.tables.PLAIN_WIDTH", columns)
    found = [replace(_finding(Level.WARNING), found="word " * 60, follows="more " * 60)]
    doctor.print_findings(found, "That is all.", fold=True)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


def test_all_that_is_missing_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("emberbox.doctor.needs.look_for_needs", lambda: LACKING)
    doctor.print_mend([_finding(Level.WARNING)])
    assert capsys.readouterr().out == "", "programs run"
    doctor.print_mend([_finding(Level.MISSING)])
    line = capsys.readouterr().out.splitlines()[-1]
    assert line == f"$ {LACKING.mend()}", "never folded: it is there to be copied"
    assert doctor.whole_mend([_finding(Level.MISSING)]) == LACKING.mend()


LACKING = Needs(
    ("bubblewrap",),
    BuildNeeds((Requirement("newuidmap", "uidmap", "maps"),), (Path("subuid"), Path("subgid"))),
)


def test_nothing_missing_installs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_rights", lambda: pytest.fail("looked for rights"))
    setup.provide(Needs(), yes=True)


def test_without_rights_the_one_line_to_type_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_rights", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(RequirementMissing) as raised:
        setup.provide(LACKING, yes=True)
    mend = raised.value.mend or ""
    assert mend.startswith("sudo apt-get install -y bubblewrap uidmap && sudo usermod --add-subuids ")
    assert "--add-subgids" in mend


def test_without_a_terminal_and_yes_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "_rights", list)
    monkeypatch.setattr("subprocess.run", lambda *a, **k: pytest.fail("ran something"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(RequirementMissing, match="Nothing was done"):
        setup.provide(LACKING, yes=False)


def test_yes_installs_and_gives_numbers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(setup, "_rights", lambda: ["sudo", "-n"])
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("subprocess.run", lambda command, **options: ran.append(command))
    setup.provide(LACKING, yes=True)
    install = [
        "sudo",
        "-n",
        "env",
        "DEBIAN_FRONTEND=noninteractive",
        "apt-get",
        "install",
        "-y",
        "-q",
        "bubblewrap",
        "uidmap",
    ]
    assert ran[-2] == install
    assert ran[-1][:4] == ["sudo", "-n", "usermod", "--add-subuids"]
    told = capsys.readouterr().err
    assert "installing Debian packages on this host: bubblewrap uidmap" in told


def test_setup_asks_for_nothing_to_build_where_all_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[bool] = []

    async def build_all(*_: Any) -> int:
        built.append(True)
        return 0

    numbers = replace(LACKING, running=())
    monkeypatch.setattr("emberbox.doctor.needs.look_for_needs", lambda: numbers)
    monkeypatch.setattr(setup, "builds_any", lambda *_: False)
    monkeypatch.setattr(setup, "build_all", build_all)
    assert main(["setup", "--runtime", "python"]) == 0
    assert built


def test_setup_asks_for_all_before_it_builds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("emberbox.doctor.needs.look_for_needs", lambda: LACKING)
    monkeypatch.setattr(setup, "_rights", lambda: None)
    monkeypatch.setattr(setup, "build_all", lambda *_: pytest.fail("began to build"))
    assert main(["setup", "--runtime", "python"]) == 69
    assert "apt-get install -y bubblewrap uidmap && " in capsys.readouterr().err


def test_completion_is_offered(tmp_path: Path) -> None:
    variables = environment(
        tmp_path, _EMBERBOX_COMPLETE="complete_bash", COMP_WORDS="emberbox run --runtime py", COMP_CWORD="3"
    )
    command = [sys.executable, "-c", "import sys; from emberbox.cli.main import main; sys.exit(main([]))"]
    done = subprocess.run(
        command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert "python" in done.stdout.split()


def test_the_hot_path_imports_neither_typer_nor_rich() -> None:
    heavy = ("typer", "rich", "pydantic", "importlib.metadata")
    names = "sys, emberbox.cli.main, emberbox.cli.run.run"
    line = f"import {names}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert done.stdout == "[]\n"

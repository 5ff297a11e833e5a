"""The waiting interpreter against the interpreter itself: the same programs, run both ways, must not tell."""

from __future__ import annotations

import socket
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.patience import PATIENCE_S

FOLDER = Path(__file__).parents[3] / "runtimes/python/files/usr/lib/emberbox/python"
PYTHON = "/usr/bin/python3"
PLACEHOLDER = "/emberbox-waiting-" + "x" * 3882
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}

pytestmark = pytest.mark.skipif(not Path(PYTHON).exists(), reason=f"needs {PYTHON}")


@dataclass
class Outcome:
    stdout: str
    stderr: str
    code: int


class Waiting:
    """Plays the agent's part for one waiting interpreter."""

    def __init__(self, preload: str = "", folder: Path = Path("/tmp")) -> None:
        self.folder = folder
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(PATIENCE_S)
        environment = ENVIRONMENT | {
            "PYTHONPATH": str(FOLDER),
            "EMBERBOX_WAITING_FD": str(theirs.fileno()),
            "EMBERBOX_WAITING_PRELOAD": preload,
        }
        self.process = subprocess.Popen(
            [PYTHON, PLACEHOLDER],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            start_new_session=True,
        )
        theirs.close()
        self.answer = self.socket.recv(4096).decode()

    def run(self, script: Path, argv: list[str], stdin: bytes, environment: dict[str, str]) -> Outcome:
        added = [f"{key}={value}" for key, value in environment.items() if ENVIRONMENT.get(key) != value]
        folder = "" if script.parent == self.folder else str(script.parent)
        order = "\0".join([str(script), folder, str(len(argv)), *argv, *added])
        self.socket.send(order.encode())
        self.socket.close()
        out, error = self.process.communicate(stdin, timeout=PATIENCE_S)
        return Outcome(out.decode(), error.decode(), self.process.returncode)

    def close(self) -> int:
        self.socket.close()
        self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode


def run_waiting(script: Path, argv: list[str], stdin: bytes, environment: dict[str, str]) -> Outcome:
    waiting = Waiting(folder=script.parent)
    assert waiting.answer == "ready"
    return waiting.run(script, argv, stdin, environment)


def run_plain(script: Path, argv: list[str], stdin: bytes, environment: dict[str, str]) -> Outcome:
    done = subprocess.run(
        [PYTHON, *argv],
        env=environment,
        cwd=script.parent,
        input=stdin,
        capture_output=True,
        timeout=PATIENCE_S,
        start_new_session=True,
    )
    return Outcome(done.stdout.decode(), done.stderr.decode(), done.returncode)


PROGRAMS = sorted((Path(__file__).parents[2] / "programs").glob("*.py"))
"""Each prints what it sees of itself. Those of the end-to-end tests are the same."""


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_cannot_tell(program: Path, tmp_path: Path) -> None:
    script = tmp_path / "prográm.py"
    script.write_text(program.read_text())
    (tmp_path / "helper.py").write_text("")
    arguments = (script, [script.name, "a", "b c", "é", ""], b"first\nsecond\n", ENVIRONMENT | {"K": "v=1"})
    (tmp_path / "__pycache__").mkdir()
    plain, waiting = run_plain(*arguments), run_waiting(*arguments)
    assert waiting == plain


def test_a_missing_script_says_what_the_interpreter_says(tmp_path: Path) -> None:
    arguments = (tmp_path / "absent.py", ["absent.py"], b"", ENVIRONMENT)
    plain, waiting = run_plain(*arguments), run_waiting(*arguments)
    assert waiting.code == plain.code == 2
    assert waiting.stderr.split(":", 1)[1] == plain.stderr.split(":", 1)[1]


def test_an_archive_of_modules_runs_as_one(tmp_path: Path) -> None:
    script = tmp_path / "app.py"  # the interpreter goes by the content
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("__main__.py", "import sys, inside; print(inside.X, __file__, sys.path[0])")
        archive.writestr("inside.py", "X = 5")
        archive.comment = b"c" * 60_000
    arguments = (script, ["app.py"], b"", ENVIRONMENT)
    plain, waiting = run_plain(*arguments), run_waiting(*arguments)
    assert waiting.stdout.startswith("5 ")
    assert waiting.code == plain.code == 0


def test_a_folder_of_modules_runs_as_one(tmp_path: Path) -> None:
    script = tmp_path / "app"
    script.mkdir()
    (script / "__main__.py").write_text("import sys; print(sys.argv, __name__)")
    arguments = (script, ["app", "x"], b"", ENVIRONMENT)
    assert run_waiting(*arguments) == run_plain(*arguments)


def test_another_folder_than_the_waiting_one(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("import os, sys; print(os.getcwd(), sys.path[0])")
    assert (
        Waiting(folder=Path("/")).run(script, ["s.py"], b"", ENVIRONMENT).stdout == f"{tmp_path} {tmp_path}\n"
    )


def test_preloaded_modules_are_reseeded_and_may_be_shadowed(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("import random, json; print(random.getstate()[1][:3], json.__file__)")
    (tmp_path / "json.py").write_text("")
    runs = [Waiting(preload="random,json").run(script, ["s.py"], b"", ENVIRONMENT).stdout for _ in range(3)]
    assert len(set(runs)) == 3
    assert all(str(tmp_path / "json.py") in run for run in runs)


def test_what_came_along_with_a_preloaded_module_may_be_shadowed_too(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text(
        "import datetime, locale, heapq; print(datetime.__file__, locale.__file__, heapq.__file__)"
    )
    (tmp_path / "locale.py").write_text("")
    (tmp_path / "datetime").mkdir()  # no package: it shadows nothing
    (tmp_path / "heapq").mkdir()
    (tmp_path / "heapq" / "__init__.py").write_text("")
    mine = Waiting(preload="calendar,heapq").run(script, ["s.py"], b"", ENVIRONMENT).stdout
    assert mine == run_plain(script, ["s.py"], b"", ENVIRONMENT).stdout
    assert str(tmp_path / "locale.py") in mine


def test_an_interpreter_that_cannot_preload_says_so() -> None:
    waiting = Waiting(preload="no_such_module")
    assert waiting.answer == "error ModuleNotFoundError: No module named 'no_such_module'"
    assert waiting.close() == 1


def test_without_an_order_it_just_ends() -> None:
    waiting = Waiting()
    assert waiting.answer == "ready"
    assert waiting.close() == 0


def test_a_child_of_the_waiting_environment_is_an_ordinary_one(tmp_path: Path) -> None:
    done = subprocess.run(
        [PYTHON, "-c", "import sys; print('sitecustomize' in sys.modules, sys.path)"],
        env=ENVIRONMENT | {"PYTHONPATH": str(FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )
    plain = subprocess.run(
        [PYTHON, "-c", "import sys; print('sitecustomize' in sys.modules, sys.path)"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (plain.stdout, plain.stderr)

"""The waiting interpreter against the interpreter itself: the same programs, run both ways, must not tell."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class Nursery:
    """Plays the agent's part for one waiting interpreter."""

    def __init__(self, preload: str = "") -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(10)
        os.set_inheritable(theirs.fileno(), True)
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
            cwd="/",
        )
        theirs.close()
        self.socket = ours
        self.ready = json.loads(ours.recv(4096))

    def grow(self) -> tuple[socket.socket, int]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        socket.send_fds(self.socket, [b'{"fork": true}'], [theirs.fileno()])
        theirs.close()
        return ours, json.loads(self.socket.recv(4096))["pid"]

    def close(self) -> None:
        self.socket.close()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.process.wait(10)


def run_waiting(nursery: Nursery, script: Path, argv: list[str], stdin: bytes, environment: dict[str, str]) -> Outcome:
    order_socket, pid = nursery.grow()
    order = {"script": str(script), "argv": argv, "orig_argv": ["python3", *argv], "env": environment, "cwd": str(script.parent)}
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    error_read, error_write = os.pipe()
    socket.send_fds(order_socket, [json.dumps(order, ensure_ascii=False).encode()], [in_read, out_write, error_write])
    order_socket.close()
    for descriptor in (in_read, out_write, error_write):
        os.close(descriptor)
    with os.fdopen(in_write, "wb") as pipe, contextlib.suppress(BrokenPipeError):
        pipe.write(stdin)
    with os.fdopen(out_read) as out, os.fdopen(error_read) as error:
        return Outcome(out.read(), error.read(), _exit_code(pid))


def _exit_code(pid: int) -> int:
    for _ in range(500):  # its parent may not have ended yet, which makes it our child
        with contextlib.suppress(ChildProcessError):
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(0.01)
    raise AssertionError(f"{pid} never became our child")


@pytest.fixture(scope="module", autouse=True)
def _adopt_orphans() -> Iterator[None]:
    """Become the parent of the waiting interpreter's grandchildren, as PID 1 is in a guest."""
    import ctypes

    libc = ctypes.CDLL(None)
    assert libc.prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
    yield
    libc.prctl(36, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    assert made.ready == {"ready": True}
    yield made
    made.close()


def run_plain(script: Path, argv: list[str], stdin: bytes, environment: dict[str, str]) -> Outcome:
    done = subprocess.run(
        [PYTHON, *argv], env=environment, cwd=script.parent, input=stdin, capture_output=True, timeout=20, start_new_session=True
    )
    return Outcome(done.stdout.decode(), done.stderr.decode(), done.returncode)


PROGRAMS = sorted((Path(__file__).parents[2] / "programs").glob("*.py"))
"""Each prints what it sees of itself. Those of the end-to-end tests are the same."""


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_cannot_tell(program: Path, nursery: Nursery, tmp_path: Path) -> None:
    script = tmp_path / "prográm.py"
    script.write_text(program.read_text())
    (tmp_path / "helper.py").write_text("")
    arguments = (script, [script.name, "a", "b c", "é", ""], b"first\nsecond\n", ENVIRONMENT | {"K": "v=1"})
    (tmp_path / "__pycache__").mkdir()
    plain, waiting = run_plain(*arguments), run_waiting(nursery, *arguments)
    assert waiting == plain


def test_a_missing_script_says_what_the_interpreter_says(nursery: Nursery, tmp_path: Path) -> None:
    arguments = (tmp_path / "absent.py", ["absent.py"], b"", ENVIRONMENT)
    plain, waiting = run_plain(*arguments), run_waiting(nursery, *arguments)
    assert waiting.code == plain.code == 2
    assert waiting.stderr.split(":", 1)[1] == plain.stderr.split(":", 1)[1]


def test_preloaded_modules_are_reseeded_and_may_be_shadowed(tmp_path: Path) -> None:
    nursery = Nursery(preload="random,json")
    try:
        script = tmp_path / "s.py"
        script.write_text("import random, json; print(random.random(), json.__file__)")
        (tmp_path / "json.py").write_text("")
        runs = [run_waiting(nursery, script, ["s.py"], b"", ENVIRONMENT).stdout.split() for _ in range(5)]
        assert len({number for number, _ in runs}) == 5
        assert {file for _, file in runs} == {str(tmp_path / "json.py")}
    finally:
        nursery.close()


def test_an_interpreter_that_cannot_preload_says_so() -> None:
    nursery = Nursery(preload="no_such_module")
    assert nursery.ready["ready"] is False
    assert "no_such_module" in nursery.ready["error"]
    nursery.close()


def test_the_program_is_a_child_of_ours_and_dies_alone(nursery: Nursery) -> None:
    order_socket, pid = nursery.grow()
    os.kill(pid, signal.SIGKILL)
    assert _exit_code(pid) == -signal.SIGKILL
    order_socket.close()
    order_socket, pid = nursery.grow()
    order_socket.close()
    assert _exit_code(pid) == 0

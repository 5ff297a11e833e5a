"""The command `emberbox` with real VMs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.command import EMBERBOX, environment
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def emberbox(data_folder: Path) -> Run:
    """Run the command; image and template of Python are there before the first test."""

    def run(
        *words: str, stdin: bytes | None = None, timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*EMBERBOX, *words],
            input=stdin or b"",
            env=environment(EMBERBOX_DATA=str(data_folder)),
            cwd=ROOT,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )

    ready = run("setup", "--runtime", "python", timeout_s=1500)
    assert ready.returncode == 0, ready.stderr.decode()
    return run


def _python(text: str, *options: str) -> tuple[str, ...]:
    limit = () if "-t" in options else ("-t", str(PATIENCE_S))
    return ("run", "-r", "python", *limit, *options, "-c", text)


@pytest.mark.timeout(1800)
def test_streams_arguments_and_exit_code(emberbox: Run, tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text(
        "import sys; print(sys.argv[1:]); sys.stdout.flush(); "
        "sys.stderr.buffer.write(b'\\xff\\x00'); sys.exit(3)"
    )
    done = emberbox("run", str(script), "a", "--", "-b")
    assert (done.stdout, done.stderr, done.returncode) == (b"['a', '-b']\n", b"\xff\x00", 3)


def test_standard_input_and_large_output(emberbox: Run) -> None:
    data = os.urandom(2_000_000)
    done = emberbox(*_python("import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"), stdin=data)
    assert done.stdout == data
    assert done.returncode == 0


def test_environment_and_files(emberbox: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/x.txt").write_text("from here")
    done = emberbox(
        *_python(
            "import os; print(os.environ['A'], open('data/x.txt').read())",
            "-e",
            "A=1",
            "-f",
            str(tmp_path / "data"),
        )
    )
    assert done.stdout == b"1 from here\n"


@pytest.mark.parametrize(
    ("text", "options", "code", "message"),
    [
        ("import time; time.sleep(60)", ("-t", "1"), 124, b"limit of wall-clock time"),
        ("import os; os.kill(os.getpid(), 11)", (), 139, b"SIGSEGV"),
        ("x = []\nwhile True: x.append(bytes(1 << 20))", (), 137, b"memory"),
        ("while True: print('x' * 1000)", ("--max-output", "1"), 125, b"writing more than"),
    ],
)
def test_how_a_run_ends(
    emberbox: Run, text: str, options: tuple[str, ...], code: int, message: bytes
) -> None:
    done = emberbox(*_python(text, *options))
    assert done.returncode == code, done.stderr.decode()
    assert done.stderr.startswith(b"emberbox: ")
    assert message in done.stderr


def test_json_and_cold(emberbox: Run) -> None:
    done = emberbox(*_python("print('hi')", "--json", "--cold"))
    result = json.loads(done.stdout)
    assert (result["status"], result["stdout"], result["metrics"]["source"]) == ("succeeded", "hi\n", "cold")


def test_an_interrupt_leaves_nothing_behind(emberbox: Run, data_folder: Path) -> None:
    command = [*EMBERBOX, *_python("print('up', flush=True)\nimport time; time.sleep(60)")]
    process = subprocess.Popen(
        command,
        env=environment(EMBERBOX_DATA=str(data_folder)),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        children = _descendants(process.pid)
        assert children
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    deadline = time.monotonic() + PATIENCE_S
    while (
        left := [pid for pid in children if Path(f"/proc/{pid}").exists()]
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *_descendants(int(child))]
    return found


def test_the_first_example(emberbox: Run) -> None:
    done = emberbox("run", "examples/hello_microvm.py")
    assert done.returncode == 0, done.stderr.decode()
    told = done.stdout.decode()
    assert "uid 1000" in told
    assert "no device; reaching out: Network is unreachable" in told


def test_setup_again_makes_nothing(emberbox: Run, data_folder: Path) -> None:
    def made() -> dict[Path, tuple[int, int]]:
        # A template's times tell when it was used.
        files = [
            path
            for name in ("images", "templates")
            for path in (data_folder / name).rglob("*")
            if path.is_file()
        ]
        return {
            path: (path.stat().st_ino, path.stat().st_size)
            for path in files
            if path.suffix != ".lock" and "locks" not in path.parts
        }

    before = made()
    done = emberbox("setup", "--runtime", "python")
    assert done.returncode == 0
    assert b"ready: python" in done.stderr
    assert made() == before


def test_lists(emberbox: Run) -> None:
    images = json.loads(emberbox("images", "list", "--json").stdout)
    assert any(image["runtime"] == "python" and image["newest"] for image in images)
    templates = json.loads(emberbox("templates", "list", "--json").stdout)
    assert any(template["runtime"] == "python" and template["waiting"] for template in templates)
    runtimes = json.loads(emberbox("runtimes", "--json").stdout)
    assert {runtime["name"]: runtime["built"] for runtime in runtimes}["python"] is True


def test_doctor_finds_nothing_missing(emberbox: Run) -> None:
    done = emberbox("doctor", "--json")
    findings = json.loads(done.stdout)["findings"]
    assert [finding for finding in findings if finding["level"] == "missing"] == []
    assert done.returncode == 0
    assert {"qemu", "bubblewrap", "acceleration", "confinement", "data", "images"} <= {
        finding["key"] for finding in findings
    }

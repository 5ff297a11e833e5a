"""`emberbox run` as a process, on an engine that needs no VM."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.patience import PATIENCE_S
from tests.unit.cli.conftest import ROOT, Emberbox, command, environment

if TYPE_CHECKING:
    from pathlib import Path


def code(text: str, *more: str) -> tuple[str, ...]:
    return ("run", "-r", "python", *more, "-c", text)


def test_output_passes_unchanged(emberbox: Emberbox) -> None:
    text = r"import os; os.write(1, bytes(range(256)) * 4000); os.write(2, b'\x00\xff\r\n')"
    done = emberbox(*code(text))
    assert done.stdout == bytes(range(256)) * 4000
    assert done.stderr == b"\x00\xff\r\n"
    assert done.returncode == 0


def test_output_into_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        command_line = command(*code("print('x' * 100000)"))
        subprocess.run(
            command_line,
            cwd=ROOT,
            env=environment(tmp_path),
            stdin=subprocess.DEVNULL,
            stdout=out,
            check=True,
            timeout=PATIENCE_S,
        )
    assert (tmp_path / "out").read_bytes() == b"x" * 100_000 + b"\n"


def test_output_arrives_while_the_program_runs(tmp_path: Path) -> None:
    text = "import sys; print('first', flush=True); sys.stdin.readline(); print('second')"
    with subprocess.Popen(
        command(*code(text)),
        cwd=ROOT,
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"first\n"
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"second\n"
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("text", "expected"), [("raise SystemExit(0)", 0), ("raise SystemExit(7)", 7), ("1/0", 1)]
)
def test_exit_code_is_the_programs(emberbox: Emberbox, text: str, expected: int) -> None:
    assert emberbox(*code(text)).returncode == expected


def test_a_signal_becomes_128_and_its_number(emberbox: Emberbox) -> None:
    done = emberbox(*code("import os; os.kill(os.getpid(), 11)"))
    assert done.returncode == 139
    assert done.stderr == b"emberbox: ended by signal 11\n"


def test_a_file_with_arguments(emberbox: Emberbox, tmp_path: Path) -> None:
    script = tmp_path / "show.py"
    script.write_text("import sys; print(sys.argv[1:], __file__.rpartition('/')[2])")
    assert (
        emberbox("run", str(script), "a", "--", "--flag", "b c").stdout == b"['a', '--flag', 'b c'] show.py\n"
    )


def test_code_leaves_all_words_to_the_program(emberbox: Emberbox) -> None:
    assert emberbox(*code("import sys; print(sys.argv[1:])"), "--", "a", "-x").stdout == b"['a', '-x']\n"


def test_standard_input_is_passed_on(emberbox: Emberbox) -> None:
    data = os.urandom(300_000)
    text = "import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    assert emberbox(*code(text), stdin=data).stdout.decode().strip() == hashlib.sha256(data).hexdigest()


def test_standard_input_from_a_file(emberbox: Emberbox, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"z" * 200_000)
    with (tmp_path / "in").open("rb") as source:
        done = emberbox(*code("import sys; print(len(sys.stdin.read()))"), stdin=source.fileno())
    assert done.stdout == b"200000\n"


def test_a_program_that_does_not_read_its_input_ends(emberbox: Emberbox) -> None:
    assert emberbox(*code("print('done')"), stdin=b"x" * 1_000_000).stdout == b"done\n"


def test_script_from_standard_input(emberbox: Emberbox) -> None:
    done = emberbox("run", "-", "-r", "python", stdin=b"import sys; print('hi', repr(sys.stdin.read(1)))")
    assert done.stdout == b"hi ''\n"


def test_environment_and_files(emberbox: Emberbox, tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1,2")
    (tmp_path / "folder/deep").mkdir(parents=True)
    (tmp_path / "folder/deep/x").write_text("deep")
    read = ("data.csv", "in/y", "folder/deep/x")
    text = f"import os; print(os.environ['A'], os.environ['B'], *[open(p).read() for p in {read}])"
    files = (
        "-f",
        str(tmp_path / "data.csv"),
        "--file",
        f"{tmp_path}/data.csv:in/y",
        "-f",
        str(tmp_path / "folder"),
    )
    assert (
        emberbox(*code(text, "-e", "A=1=2", "--env", "B", *files), B="mine").stdout
        == b"1=2 mine 1,2 1,2 deep\n"
    )


def test_sizes_and_limits_reach_the_engine(emberbox: Emberbox, log: Path) -> None:
    emberbox(*code("", "-t", "5", "-m", "512", "--vcpus", "2", "--disk", "64", "--cold", "--max-output", "1"))
    noted = log.read_text()
    assert "sandbox python {'memory_mib': 512, 'vcpus': 2, 'disk_mib': 64, 'cold': True}" in noted
    assert f"limits 5.0 None {1024 * 1024}" in noted


def test_timeout_zero_means_none(emberbox: Emberbox, log: Path) -> None:
    emberbox(*code("", "--timeout=0", "--max-output=0"))
    assert "limits None None None" in log.read_text()


def test_json(emberbox: Emberbox) -> None:
    done = emberbox(*code("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)", "--json"))
    result = json.loads(done.stdout)
    assert done.returncode == 3
    assert done.stderr == b""
    assert (result["status"], result["exit_code"], result["stdout"], result["stderr"]) == (
        "failed",
        3,
        "out\n",
        "err\n",
    )
    assert set(result) == {
        "status",
        "exit_code",
        "signal",
        "message",
        "stdout",
        "stderr",
        "stdout_bytes",
        "stderr_bytes",
        "stdout_truncated",
        "stderr_truncated",
        "metrics",
        "compile",
        "packages",
        "left_files",
        "files",
        "file_notes",
    }


def test_times(emberbox: Emberbox) -> None:
    done = emberbox(*code("print(1)", "--time"))
    assert done.stdout == b"1\n"
    lines = done.stderr.decode().splitlines()
    assert [line.split()[0] for line in lines] == [
        "queue",
        "VM",
        "program",
        "transfer",
        "total",
        "process",
        "memory",
    ]
    assert "cloned from the template" in lines[1]


def test_a_long_preparation_is_told_of(emberbox: Emberbox) -> None:
    done = emberbox(*code("print(1)"), LOCAL_ENGINE_BUILDS="1.8")
    assert done.stdout == b"1\n"
    assert b"preparing python for its first use here: kernel (50%)" in done.stderr
    assert b"\x1b" not in done.stderr


def test_a_short_preparation_is_silent(emberbox: Emberbox) -> None:
    assert emberbox(*code("print(1)"), LOCAL_ENGINE_BUILDS="0.05").stderr == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_program_in_good_order(
    tmp_path: Path, log: Path, number: signal.Signals
) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as under nohup, and what is ignored stays so")
    process = _started(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 128 + number
    assert errors == b""
    assert log.read_text().splitlines()[-3:] == ["process killed", "sandbox closed", "engine closed"]


def test_an_interrupt_is_heeded_while_nobody_reads_the_output(tmp_path: Path, log: Path) -> None:
    process = _started(tmp_path, "while True: print('x' * 1000)")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    assert "engine closed" in log.read_text()
    process.communicate()


def _started(folder: Path, then: str = "import time; time.sleep(3600)") -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        command(*code(f"print('up', flush=True)\n{then}")),
        cwd=ROOT,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.read(3) == b"up\n"
    return process


def test_a_reader_that_goes_away_ends_the_program_quietly(tmp_path: Path, log: Path) -> None:
    process = _started(tmp_path, "while True: print('x' * 1000)")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
    assert "engine closed" in log.read_text()


def test_expected_failures_come_without_a_traceback(emberbox: Emberbox) -> None:
    done = emberbox(*code(""), LOCAL_ENGINE_FAILS="1")
    assert done.returncode == 70
    assert done.stderr.decode().splitlines()[0] == "emberbox: the VMM did not come up"
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_details_on_demand(emberbox: Emberbox, how: str) -> None:
    before = ["--debug"] if how == "flag" else []
    done = emberbox(
        *before, *code(""), LOCAL_ENGINE_FAILS="1", EMBERBOX_DEBUG="1" if how == "variable" else "0"
    )
    assert b"its last words" in done.stderr
    assert b"Traceback" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "nothing.py"), "there is no file 'nothing.py'"),
        (("run", "src"), "'src' is a folder"),
        (("run", "-c", "1"), "-c needs a runtime: --runtime "),
        (("run", "-", "-r", "pyhton"), "there is no runtime 'pyhton'. Did you mean 'python'?"),
        (("run", "LICENSE"), "cannot tell the runtime of 'LICENSE'"),
        (("run",), "name the script to run"),
        (("run", "-c", "1", "-r", "python", "-e", "=x"), "--env: a variable has a name"),
        (("run", "-c", "1", "-r", "python", "-e", "NOT_SET_HERE"), "NOT_SET_HERE: it is not set here"),
        (("run", "-c", "1", "-r", "python", "-f", "nothing"), "there is no file 'nothing'"),
        (("run", "-c", "1", "-r", "python", "-f", "LICENSE:"), "--file 'LICENSE:'"),
        (("run", "-c", "1", "-r", "python", "-t", "-1"), "timeout_s must be above 0"),
        (("run", "-c", "1", "-r", "python", "-t", "soon"), "Invalid value for '--timeout' / '-t'"),
        (("run", "-c", "1", "-r", "python", "--no-such"), "No such option: --no-such"),
        (("--config", "/nothing", "run", "-c", "1", "-r", "python"), "/nothing, which does not exist"),
        (("dance",), "No such command 'dance'"),
    ],
)
def test_mistakes(emberbox: Emberbox, words: tuple[str, ...], message: str) -> None:
    done = emberbox(*words)
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.returncode == 2
    assert done.stdout == b""


def test_the_console_goes_to_standard_error_each_line_marked(emberbox: Emberbox) -> None:
    done = emberbox(*code("print(6 * 7)", "--console"))
    assert done.stdout == b"42\n"
    assert done.stderr.decode() == "console | a line of the guest's kernel \\x1b[2J\n"
    assert emberbox(*code("print(6 * 7)")).stderr == b""

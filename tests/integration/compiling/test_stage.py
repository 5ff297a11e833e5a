"""The compile stage of a sandbox."""

from __future__ import annotations

import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import CompileFailed, InvalidInput
from emberbox.model import Limits, RunStatus
from emberbox.sandbox.compiling import stage as compiling
from tests.integration.compiling.conftest import LUCKY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from emberbox.model import RunResult
    from emberbox.testing.engine import HostEngine

LANGUAGE = "shell-compiled"


async def once(
    engine: HostEngine, code: str | bytes | Path, *, scope: str | None = None, **options: object
) -> RunResult:
    """Run in a fresh sandbox."""
    async with engine.sandbox(LANGUAGE, scope=scope) as sandbox:
        return await sandbox.run(code, **options)  # type: ignore[arg-type]


async def test_a_program_is_compiled_and_run(engine: HostEngine) -> None:
    result = await once(
        engine, "cat; echo $1 >&2; exit 3\n#!compile echo said; echo warned >&2", args=["a"], stdin=b"in\n"
    )
    assert (result.status, result.exit_code, result.stdout, result.stderr) == (
        RunStatus.FAILED,
        3,
        "in\n",
        "a\n",
    )
    compiled = result.compile
    assert compiled is not None
    assert (compiled.ok, compiled.reason, compiled.exit_code, compiled.message) == (True, "compiled", 0, None)
    assert (compiled.stdout, compiled.stderr, compiled.stdout_bytes, compiled.stderr_bytes) == (
        "said\n",
        "warned\n",
        5,
        7,
    )
    assert compiled.wall_ms > 0
    assert result.metrics.total_ms > compiled.wall_ms + result.metrics.run_ms
    assert json.loads(json.dumps(result.to_dict()))["compile"]["reason"] == "compiled"


@pytest.mark.parametrize(
    ("code", "reason", "exit_code", "message"),
    [
        ("if", "failed", 2, "ended with exit code 2"),
        ("#!compile exit 7", "failed", 7, "ended with exit code 7"),
        ("#!compile kill -SEGV $$", "failed", None, "ended by signal 11 (SIGSEGV)"),
        ("#!compile yes", "output_limit", None, "killed for writing more than 4194304 bytes"),
        ("#!compile rm $2", "failed", 0, "left no program at main.shc.out"),
        ("#!compile rm $2; mkfifo $2", "failed", 0, "left no program at main.shc.out"),
    ],
)
async def test_a_program_that_does_not_compile_never_starts(
    engine: HostEngine, code: str, reason: str, exit_code: int | None, message: str
) -> None:
    result = await once(engine, f"{code}\necho ran >&2")
    assert (result.status, result.exit_code, result.signal, result.stderr) == (
        RunStatus.COMPILE_FAILED,
        None,
        None,
        "",
    )
    assert result.compile is not None
    assert (result.compile.ok, result.compile.reason, result.compile.exit_code) == (False, reason, exit_code)
    assert message in (result.message or "")
    assert result.message == result.compile.message
    assert len(result.compile.stdout_data) <= 65_536
    if code == "if":
        assert "line 3: syntax error" in result.compile.stderr


async def test_an_endless_compile_is_killed(engine: HostEngine) -> None:
    async with engine.sandbox("shell-hasty") as sandbox:
        result = await sandbox.run("#!compile sleep 60\necho ran")
    assert (result.status, result.stdout) == (RunStatus.COMPILE_FAILED, "")
    assert (result.compile and result.compile.reason) == "timed_out"
    assert result.message == "compile failed: the compiler was killed after 1 s, its limit of wall-clock time"


async def test_a_failed_compile_leaves_the_sandbox_usable(engine: HostEngine) -> None:
    async with engine.sandbox(LANGUAGE) as sandbox:
        with pytest.raises(CompileFailed) as caught:
            await sandbox.start_script("if")
        assert caught.value.result.exit_code == 2
        assert (await sandbox.run("echo fine")).stdout == "fine\n"
        stale = await sandbox.run("#!compile rm $2; exit 0")
        assert stale.status is RunStatus.COMPILE_FAILED, (
            "the program of the run before is not taken for this one's"
        )


async def test_the_compiler_does_not_see_the_variables_of_the_run(engine: HostEngine) -> None:
    result = await once(engine, '#!compile env\necho "$SECRET"', env={"SECRET": "hush"})
    assert result.stdout == "hush\n"
    assert result.compile is not None
    assert "COMPILER=shell\n" in result.compile.stdout
    assert "hush" not in result.compile.stdout


async def test_limits_of_its_own(engine: HostEngine) -> None:
    result = await once(engine, "#!compile sleep 1\nsleep 60", timeout_s=0.3)
    assert (result.status, result.compile and result.compile.ok) == (RunStatus.TIMED_OUT, True)
    async with engine.sandbox(LANGUAGE) as sandbox:
        await sandbox.write_file("x.shc", b"#!compile echo 12345; sleep 60\n")
        told = await sandbox.compile("x.shc", limits=Limits(timeout_s=2, keep_bytes=2))
        assert (told.reason, told.stdout, told.stdout_bytes) == ("timed_out", "12", 6)


async def test_compile_alone(engine: HostEngine) -> None:
    async with engine.sandbox(LANGUAGE) as sandbox:
        await sandbox.write_file("d/x.shc", b"cat d/y\n")
        await sandbox.write_file("d/y", b"beside\n")
        assert (await sandbox.compile("d/x.shc")).reason == "compiled"
        assert (await sandbox.command(["bash", "d/x.shc.out"])).stdout == "beside\n"
        async with await sandbox.start_file("d/x.shc") as process:
            assert (await process.collect(None)).stdout == "beside\n"
        with pytest.raises(InvalidInput):
            await sandbox.compile("../x")
    async with engine.sandbox("bash") as sandbox:
        with pytest.raises(InvalidInput, match="compiles nothing"):
            await sandbox.compile("x")
        assert (await sandbox.run("echo")).compile is None


# -- the cache -----------------------------------------------------------------------------------


async def test_the_same_source_is_compiled_once(engine: HostEngine) -> None:
    code = f"{LUCKY}#!compile echo warned >&2\ncat main.shc | wc -c; exit 4\n"
    first, second = await once(engine, code), await once(engine, code)
    assert first.compile is not None
    assert second.compile is not None
    assert (first.compile.reason, second.compile.reason) == ("compiled", "cached")
    assert (second.compile.cached, second.compile.exit_code, second.compile.cpu_ms) == (True, None, 0)
    assert (second.compile.stderr, second.compile.stderr_bytes) == ("warned\n", 7)
    assert (second.status, second.exit_code, second.stdout, second.stderr) == (
        first.status,
        first.exit_code,
        first.stdout,
        first.stderr,
    )


async def test_whatever_differs_is_compiled_anew(engine: HostEngine, tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("from-archive"))
    seen = {(await once(engine, LUCKY)).stdout}
    seen.add((await once(engine, f"{LUCKY} ")).stdout)
    seen.add((await once(engine, LUCKY, files={"h": b"1"})).stdout)
    seen.add((await once(engine, LUCKY, files={"h": b"2"})).stdout)
    seen.add((await once(engine, LUCKY, files={"g": b"1"})).stdout)
    seen.add((await once(engine, LUCKY, name="other.shc")).stdout)
    seen.add((await once(engine, LUCKY, scope="key-1")).stdout)
    seen.add((await once(engine, LUCKY, scope="key-2")).stdout)
    async with engine.sandbox(LANGUAGE) as sandbox:
        await sandbox.put_archive(data.getvalue())
        seen.add((await sandbox.run(LUCKY)).stdout)
    assert len(seen) == 9
    for options in ({}, {"files": {"h": b"2"}}, {"scope": "key-1"}, {"args": ["x"], "env": {"A": "b"}}):
        again = await once(engine, LUCKY, **options)
        assert again.compile is not None
        assert again.compile.cached
        assert again.stdout in seen


async def test_large_sources_and_archives_are_found_again(engine: HostEngine) -> None:
    async def chunks(data: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(data), 50_000):
            yield data[start : start + 50_000]

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        source = (LUCKY + "#" * 200_000 + "\n").encode()
        entry = tarfile.TarInfo("src/main.shc")
        entry.size = len(source)
        tar.addfile(entry, io.BytesIO(source))
    seen = set()
    for _ in range(2):
        async with engine.sandbox(LANGUAGE) as sandbox:
            await sandbox.put_archive(chunks(data.getvalue()))
            async with await sandbox.start_file("src/main.shc") as process:
                seen.add((await process.collect(None)).stdout)
    assert len(seen) == 1


@pytest.mark.parametrize("before", ["run", "command", "compile"])
async def test_a_sandbox_in_which_something_ran_neither_reads_nor_writes(
    engine: HostEngine, before: str
) -> None:
    async def then(code: str) -> RunResult:
        async with engine.sandbox(LANGUAGE) as sandbox:
            if before == "run":
                await sandbox.run("true")
            elif before == "command":
                await sandbox.command(["true"])
            else:
                await sandbox.write_file("x.shc", b"true")
                await sandbox.compile("x.shc")
            return await sandbox.run(code)

    dirty = await then(LUCKY)
    clean = await once(engine, LUCKY)
    again = await then(LUCKY)
    assert [result.compile and result.compile.reason for result in (dirty, clean, again)] == ["compiled"] * 3
    assert len({dirty.stdout, clean.stdout, again.stdout}) == 3


async def test_failures_are_not_kept(engine: HostEngine) -> None:
    for _ in range(2):
        result = await once(engine, "#!compile exit 1\n")
        assert result.compile is not None
        assert result.compile.reason == "failed"


@pytest.mark.parametrize(
    "code",
    [
        "#!compile ln -sf /etc/hostname $2",
        "#!compile head -c 70m /dev/zero > $2",
        "#!compile rm $2; mkdir $2; cd $2; for i in {1..20}; do :> $i; done",
    ],
    ids=["link", "too large", "too many files"],
)
async def test_output_that_is_no_use_is_not_kept(
    engine: HostEngine, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "ENTRY_FILES", 10)
    for _ in range(2):
        result = await once(engine, f"{code}\n")
        assert result.compile is not None
        assert result.compile.reason == "compiled"
    assert not [path for path in (tmp_path / "data/compiled").glob("*/*") if path.is_file()]


async def test_a_folder_with_links_comes_back_as_it_was(engine: HostEngine) -> None:
    code = (
        "#!compile rm $2; mkdir -p $2/lib; echo 'echo $RANDOM' > $2/lib/a; "
        "chmod 750 $2/lib/a; ln -s lib/a $2/b; :> $2/empty\n"
    )
    async with engine.sandbox(LANGUAGE) as sandbox:
        first = await sandbox.run(code)
    async with engine.sandbox(LANGUAGE) as sandbox:
        second = await sandbox.run(code)
        listed = await sandbox.command(["ls", "-l", "main.shc.out/lib/a"])
        assert second.compile is not None
        assert second.compile.cached
        assert listed.stdout.startswith("-rwxr-x---")
        assert (await sandbox.command(["readlink", "main.shc.out/b"])).stdout == "lib/a\n"
    assert (first.status, first.stderr) == (second.status, second.stderr)


async def test_a_link_to_a_folder_is_kept_as_that_folder(engine: HostEngine) -> None:
    code = "#!compile rm $2; mkdir made; echo x > made/x; ln -s made $2\n"
    for reason in ("compiled", "cached"):
        async with engine.sandbox(LANGUAGE) as sandbox:
            result = await sandbox.run(code)
            assert result.compile is not None
            assert result.compile.reason == reason
            assert await sandbox.read_file("main.shc.out/x") == b"x\n"


async def test_an_entry_that_leads_out_is_compiled_anew(engine: HostEngine, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    code = f"#!compile rm $2; mkdir $2; ln -s {outside} $2/out; echo made\n"
    for _ in range(2):
        result = await once(engine, code)
        assert result.compile is not None
        assert result.compile.reason == "compiled", "the agent refuses a link that leads out of its folder"
        assert result.compile.stdout == "made\n"
    assert not outside.exists()


async def test_a_source_in_the_place_of_the_program(engine: HostEngine) -> None:
    for _ in range(2):
        result = await once(engine, "echo compiled\n", files={"./main.shc.out": b"echo in its place\n"})
        assert result.stdout == "compiled\n"


async def test_a_corrupted_entry_is_a_miss(engine: HostEngine, tmp_path: Path) -> None:
    first = await once(engine, LUCKY)
    (entry,) = [path for path in (tmp_path / "data/compiled").glob("*/*") if path.is_file()]
    entry.write_bytes(entry.read_bytes()[:-40] + b"x" * 40)
    second = await once(engine, LUCKY)
    assert second.compile is not None
    assert second.compile.reason == "compiled"
    assert second.stdout != first.stdout
    assert (await once(engine, LUCKY)).stdout == second.stdout

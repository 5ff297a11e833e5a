"""Files of the output folder become artifacts without being asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.config import Settings
from emberbox.testing.engine import HostEngine

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.store.records import ArtifactRecord, JobRecord
    from tests.integration.jobs.conftest import Caller


async def kept(caller: Caller, job: JobRecord) -> dict[str, ArtifactRecord]:
    return {artifact.path: artifact for artifact in await caller.service.artifacts.list(job.id)}


async def content(caller: Caller, artifact: ArtifactRecord) -> bytes:
    return b"".join([piece async for piece in caller.service.artifacts.stream(artifact)])


async def test_files_of_the_output_folder_are_artifacts(caller: Caller) -> None:
    job = await caller.run(
        'cd "$EMBERBOX_OUTPUT" && pwd && echo a >a.csv && mkdir -p deep/er && echo b >deep/er/b.txt'
    )
    assert (await caller.stdout(job)).endswith("/output\n")
    assert job.status == "succeeded"
    found = await kept(caller, job)
    assert sorted(found) == ["a.csv", "deep/er/b.txt"]
    assert await content(caller, found["deep/er/b.txt"]) == b"b\n"
    assert job.message is None


async def test_the_folder_is_there_and_empty_and_an_unused_one_gives_nothing(caller: Caller) -> None:
    job = await caller.run("ls -A output | wc -l; test -w output && echo writable")
    assert (await caller.stdout(job)).split() == ["0", "writable"]
    assert await kept(caller, job) == {}


async def test_a_failed_program_leaves_its_files_as_well(caller: Caller) -> None:
    job = await caller.run("echo x >output/partial; exit 3")
    assert (job.status, job.exit_code) == ("failed", 3)
    assert list(await kept(caller, job)) == ["partial"]
    job = await caller.run("echo x >output/early; sleep 3600", timeout_s=2)
    assert job.status == "timed_out"
    assert list(await kept(caller, job)) == ["early"]


async def test_globs_and_the_folder_together(caller: Caller) -> None:
    code = "echo 1 >same; echo 2 >output/same; echo 3 >output/only; echo 4 >output/asked.txt"
    job = await caller.run(code, artifacts=["same", "output/*.txt"])
    found = await kept(caller, job)
    assert sorted(found) == ["only", "output/asked.txt", "output/same", "same"]
    assert await content(caller, found["same"]) == b"1\n"
    assert await content(caller, found["output/same"]) == b"2\n"


async def test_what_is_no_file_is_passed_over(caller: Caller) -> None:
    code = """cd output; ln -s /etc/passwd link; ln -s /etc folder; mkfifo pipe; mkdir empty; ln -s . loop
    printf x >"$(printf 'a\\nb')"; printf x >"$(printf '\\377')"; printf x >"$(printf '\\033[31m')" """
    job = await caller.run(code)
    assert sorted(await kept(caller, job)) == ["\\x1b[31m", "\\xff", "a\\x0ab"]


async def test_a_link_in_the_place_of_the_folder(caller: Caller) -> None:
    for code in (
        "rmdir output; ln -s /etc output",
        "rmdir output; echo x >output",
        "rmdir output; mkfifo output",
        "rmdir output",
    ):
        job = await caller.run(code)
        assert (job.status, await kept(caller, job)) == ("succeeded", {}), code


async def test_bounds_hold_and_are_told(caller: Caller) -> None:
    job = await caller.run("cd output; truncate -s 100G huge; for i in $(seq 1 150); do echo $i >f$i; done")
    found = await kept(caller, job)
    assert len(found) == 100
    assert "huge" not in found
    assert job.message is not None
    assert "100 files are kept at most" in job.message
    job = await caller.run("truncate -s 100G output/huge; echo x >output/small")
    assert list(await kept(caller, job)) == ["small"]
    assert "huge was left out" in (job.message or "")


async def test_the_library_reads_the_folder(tmp_path: Path) -> None:
    async with HostEngine(Settings(data=tmp_path)) as engine, engine.sandbox("bash") as sandbox:
        assert not (await sandbox.run("true")).left_files
        result = await sandbox.run(
            "echo hi >output/a.txt; ln -s a.txt output/link; truncate -s 1T output/huge"
        )
        assert result.left_files
        outputs = await sandbox.outputs()
        assert [(file.name, file.text) for file in outputs.files] == [("a.txt", "hi\n")]
        assert outputs.notes == ["huge was left out: 67108864 bytes are returned at most"]
        for place in ("ln -s /etc output", "echo x >output", "true"):
            assert not (await sandbox.run(f"rm -r output; {place}")).left_files
        assert (await sandbox.outputs()).files == []


async def test_ten_thousand_files(tmp_path: Path) -> None:
    async with HostEngine(Settings(data=tmp_path)) as engine, engine.sandbox("bash") as sandbox:
        result = await sandbox.run("cd output; seq 1 10000 | xargs touch")
        assert result.left_files
        outputs = await sandbox.outputs()
        assert len(outputs.files) == 100
        assert len(outputs.notes) == 11
        assert outputs.notes[-1] == "9890 more files were left out"

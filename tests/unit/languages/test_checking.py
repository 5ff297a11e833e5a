"""What is wrong with a language is found, and said with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from emberbox.errors import GuestGone, ImageBuildFailed
from emberbox.languages.checking import LanguageReport, RuntimeCheck
from emberbox.model import RunResult, RunStatus
from tests.unit.languages.fakes import COMPILED, EXAMPLES, MANIFEST, FakeEngine, make_runtime, ran, refused

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.languages.verdict import Check
    from emberbox.sandbox import Engine

WAITING = MANIFEST + '[waiting]\nargv = ["toy", "{placeholder}"]\n'
HELD = MANIFEST + '[waiting]\nhold = "open"\n'
DEAD = RunResult(status=RunStatus.VM_DIED, message="the VM ended under the run")


async def checked(engine: FakeEngine, said: list[Check] | None = None) -> LanguageReport:
    checking = RuntimeCheck(
        cast("Engine", engine), engine.runtime, quick=True, say=None if said is None else said.append
    )
    return await checking.run()


@pytest.mark.parametrize("manifest", [MANIFEST, COMPILED])
async def test_a_good_language_has_nothing_wrong(tmp_path: Path, manifest: str) -> None:
    said: list[Check] = []
    report = await checked(FakeEngine(make_runtime(tmp_path, manifest)), said)
    assert report.ok, report.wrong
    assert said == report.checks
    assert (report.version_text, report.times.clone.percentile(50) is not None) == ("Toy 1.2.3", True)
    names = [check.name for check in report.checks]
    assert names[:10] == [
        "examples",
        "image",
        "template",
        "version",
        "hello",
        "program",
        "compile error",
        "runtime error",
        "waiting",
        "twins",
    ]
    assert names[-2:] == ["nothing left", "times"]
    assert set(report.to_dict()) >= {"name", "ok", "checks", "clone_ms", "peak_memory_mib", "image_mib"}


@pytest.mark.parametrize("manifest", [MANIFEST, COMPILED])
async def test_no_verdict_depends_on_how_busy_the_host_is(tmp_path: Path, manifest: str) -> None:
    # A clone that its runtime's usual 30 s end on a busy host is no mistake of the language.
    engine = FakeEngine(make_runtime(tmp_path, manifest))
    await RuntimeCheck(cast("Engine", engine), engine.runtime, quick=True).run()
    measured = sum(bound is None for bound in engine.bounds)
    assert len(engine.bounds) - measured > 10
    assert all(bound >= 300 for bound in engine.bounds if bound is not None)


WRONGS: list[tuple[str, dict[str, Any], str, str]] = [
    (MANIFEST, {"answers": {"hello": ran(b"hello world\n")}}, "hello", "printed"),
    (MANIFEST, {"answers": {"hello": DEAD}}, "hello", "vm_died"),
    (MANIFEST, {"answers": {"hello": GuestGone("the stream ended")}}, "hello", "GuestGone"),
    (MANIFEST, {"answers": {"program": ran(b"1 3 5 9\nsum 18\n")}}, "program", "expected failed"),
    (
        MANIFEST,
        {"answers": {"program": ran(b"1 3 5 9\nsum 18\n", exit_code=1)}},
        "program",
        "expected exit code 3",
    ),
    (MANIFEST, {"answers": {"program": ran(b"1 3 5 9 \nsum 18\n", exit_code=3)}}, "program", "printed"),
    (MANIFEST, {"sum_file": None}, "program", "wrote no sum.txt"),
    (MANIFEST, {"sum_file": b"18"}, "program", "wrote b'18'"),
    (MANIFEST, {"answers": {"compile_error": ran(b"")}}, "compile error", "expected failed"),
    (
        MANIFEST,
        {"answers": {"compile_error": ran(stderr=b"toy 5.1: what?", exit_code=1)}},
        "compile error",
        "names no line",
    ),
    (
        COMPILED,
        {"answers": {"compile_error": ran(stderr=b"line 2", exit_code=1)}},
        "compile error",
        "expected compile_failed",
    ),
    (COMPILED, {"answers": {"compile_error": refused(b"what is this?")}}, "compile error", "names no line"),
    (
        MANIFEST,
        {"answers": {"runtime_error": ran(stderr=b"no", exit_code=1)}},
        "runtime error",
        "not 'before'",
    ),
    (
        MANIFEST,
        {"answers": {"runtime_error": ran(b"before\n", exit_code=1)}},
        "runtime error",
        "without a word",
    ),
    (COMPILED, {"answers": {"runtime_error": refused()}}, "runtime error", "expected failed"),
    (MANIFEST, {"answers": {"twins": ran(b"random 4\n")}}, "twins", "line 1 is the same in 4 of 4"),
    (MANIFEST, {"version": b"Toy 2.0\n"}, "version", "the manifest says 1.2"),
    (MANIFEST, {"answers": {"source": DEAD}}, "empty source", "vm_died"),
    (MANIFEST, {"answers": {"source": ran(exit_code=1)}}, "invalid UTF-8", "without a word"),
    (
        MANIFEST,
        {"answers": {"hello": ran(b"something else\n")}},
        "name with a leading dash",
        "printed 'something else",
    ),
    (WAITING, {"waiting": False}, "template", "no interpreter waits"),
    (HELD, {"waiting": True, "takes": False}, "waiting", "did not run hello"),
    (HELD, {"waiting": True, "as_plain": {"program": ran(b"other\n")}}, "waiting", "program prints"),
    (
        HELD,
        {"waiting": True, "as_plain": {"hello": ran(b"hello, world\n", exit_code=2)}},
        "waiting",
        "hello ends",
    ),
    (
        HELD,
        {"waiting": True, "as_plain": {"runtime_error": ran(b"before\n", b"no", exit_code=1)}},
        "waiting",
        "says",
    ),
]


@pytest.mark.parametrize(("manifest", "ways", "name", "found"), WRONGS)
async def test_what_is_wrong_is_found(
    tmp_path: Path, manifest: str, ways: dict[str, Any], name: str, found: str
) -> None:
    report = await checked(FakeEngine(make_runtime(tmp_path, manifest), **ways))
    wrong = {check.name: check for check in report.wrong}
    assert name in wrong, report.checks
    assert found in wrong[name].found
    assert wrong[name].mend
    assert not report.ok


async def test_missing_examples_are_told_and_the_others_still_run(tmp_path: Path) -> None:
    report = await checked(FakeEngine(make_runtime(tmp_path, examples=("hello",))))
    assert [check.name for check in report.wrong] == ["examples"]
    assert "program.toy, compile_error.toy, runtime_error.toy" in report.wrong[0].found
    levels = {check.name: check.level for check in report.checks}
    assert (levels["hello"], levels["program"], levels["twins"]) == ("ok", "skipped", "skipped")


async def test_a_waiting_interpreter_needs_its_twins(tmp_path: Path) -> None:
    runtime = make_runtime(tmp_path, WAITING, tuple(name for name in EXAMPLES if name != "twins"))
    report = await checked(FakeEngine(runtime, waiting=True))
    assert [check.name for check in report.wrong] == ["twins"]


async def test_what_waits_may_differ_by_addresses_alone(tmp_path: Path) -> None:
    plain = {"runtime_error": ran(b"before\n", b"toy: at 0x7f10", exit_code=1)}
    answers: dict[str, RunResult | Exception] = {
        "runtime_error": ran(b"before\n", b"toy: at 0x7a22", exit_code=1)
    }
    report = await checked(
        FakeEngine(make_runtime(tmp_path, HELD), waiting=True, answers=answers, as_plain=plain)
    )
    assert [check.level for check in report.checks if check.name == "waiting"] == ["ok"]


async def test_without_an_image_nothing_is_run(tmp_path: Path) -> None:
    failure = ImageBuildFailed("Debian has no package toy", detail="E: Unable to locate package toy")
    engine = FakeEngine(make_runtime(tmp_path), answers={"image": failure})
    report = await checked(engine)
    assert [check.name for check in report.checks] == ["examples", "image"]
    assert ("no package toy" in report.wrong[0].found, engine.seen) == (True, ["image"])


async def test_machines_that_stay_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emberbox.bench.samplers.base.SETTLE_S", 0.1)
    report = await checked(FakeEngine(make_runtime(tmp_path), machines=2))
    assert [check.found for check in report.wrong] == ["2 machines still live"]

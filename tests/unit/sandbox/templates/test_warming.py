"""What a template is asked to keep waiting, and under which name it is primed."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from emberbox.errors import ImageBuildFailed
from emberbox.runtimes.manifest import load
from emberbox.sandbox.templates.warming import placeholder, warm

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.guest import GuestClient
    from emberbox.runtimes import Runtime

MANIFEST = """\
name = "toy"
version = "1"
extensions = [".toy"]
[image]
packages = ["toy"]
[run]
argv = ["toy", "--run={script}"]
[env]
A = "1"
[warm]
run = ["warm.toy"]
prime = "prime.toy"
"""
COMPILED = (
    MANIFEST.replace("{script}", "{output}")
    + '[compile]\nargv = ["toyc", "{script}", "-o", "{output}"]\nenv = { B = "2" }\n'
)


@dataclass
class FakeGuest:
    """Notes what it is asked for, in order."""

    waits: bool = True
    exit_code: int = 0
    prepared: list[Any] = field(default_factory=list)
    started: list[Any] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    async def prepare(self, *, waiting: Any, held: Any, timeout_s: float) -> Any:
        self.prepared.append((waiting, list(held)))
        return SimpleNamespace(waiting=self.waits, waiting_error=None if self.waits else "toy: no")

    async def start(self, request: Any) -> Any:
        self.started.append(request)

        async def collect(**bounds: object) -> Any:
            return SimpleNamespace(exit_code=self.exit_code, stdout=b"", stderr=b"toy: oh", reason="exited")

        return SimpleNamespace(collect=collect)

    async def delete(self, path: str, **options: object) -> None:
        self.deleted.append(path)

    async def flush(self, *, timeout_s: float) -> None:
        self.started.append("flush")


def runtime(folder: Path, manifest: str) -> Runtime:
    """Return a runtime of its own folder."""
    home = folder / "toy"
    home.mkdir()
    for name in ("warm.toy", "prime.toy"):
        (home / name).write_text("toy")
    (home / "runtime.toml").write_text(manifest)
    return load(home / "runtime.toml")


async def warmed(toy: Runtime, guest: FakeGuest) -> bool:
    return await warm(cast("GuestClient", guest), toy)


async def test_nothing_waits_where_nothing_is_to(tmp_path: Path) -> None:
    guest = FakeGuest()
    assert not await warmed(runtime(tmp_path, MANIFEST), guest)
    assert guest.prepared == []
    assert [one.argv[-1] for one in guest.started[:2]] == [
        "--run=/tmp/emberbox_warm.toy",
        "--run=/tmp/emberbox_prime.toy",
    ]
    assert guest.started[-1] == "flush"


async def test_a_held_interpreter_is_primed_as_inline_code(tmp_path: Path) -> None:
    guest = FakeGuest()
    assert await warmed(runtime(tmp_path, MANIFEST + '[waiting]\nhold = "read"\n'), guest)
    first, second = guest.prepared  # the first ones are used up by priming
    assert first == second
    assert first[0] is None
    [held] = first[1]
    assert (held.argv, held.script, dict(held.env), held.opened, held.once) == (
        ("toy", "--run=main.toy"),
        "main.toy",
        {"A": "1"},
        True,
        False,
    )
    primed = guest.started[1]
    assert (primed.argv, primed.env, primed.cwd) == (held.argv, {"A": "1"}, "/work")
    assert "main.toy" in guest.deleted


async def test_a_held_compiler_and_its_program(tmp_path: Path) -> None:
    guest = FakeGuest()
    manifest = COMPILED.replace("[compile]", "[compile]\nhold = true") + '[waiting]\nhold = "open"\n'
    assert await warmed(runtime(tmp_path, manifest), guest)
    compiler, program = guest.prepared[0][1]
    assert (compiler.argv, compiler.script, dict(compiler.env), compiler.once) == (
        ("toyc", "main.toy", "-o", "main.toy.out"),
        "main.toy",
        {"A": "1", "B": "2"},
        True,
    )
    assert (program.argv, program.script, dict(program.env)) == (
        ("toy", "--run=main.toy.out"),
        "main.toy.out",
        {"A": "1"},
    )
    assert guest.deleted[-2:] == ["main.toy", "main.toy.out"]


async def test_an_interpreter_that_takes_orders(tmp_path: Path) -> None:
    guest = FakeGuest()
    await warmed(runtime(tmp_path, MANIFEST + '[waiting]\nargv = ["toy", "{placeholder}"]\n'), guest)
    spec, held = guest.prepared[0]
    assert (spec.argv, held) == (("toy", placeholder()), [])
    assert guest.started[1].argv[-1] == "--run=/tmp/emberbox_prime.toy"
    assert guest.started[1].waiting is not None


@pytest.mark.parametrize(
    ("ways", "told"),
    [({"waits": False}, "does not come to wait.*toy: no"), ({"exit_code": 1}, "warm.toy failed")],
)
async def test_what_fails_fails_the_template(tmp_path: Path, ways: dict[str, Any], told: str) -> None:
    toy = runtime(tmp_path, MANIFEST + '[waiting]\nhold = "open"\n')
    with pytest.raises(ImageBuildFailed, match=told):
        await warmed(toy, FakeGuest(**ways))

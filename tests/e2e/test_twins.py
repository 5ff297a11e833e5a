"""Clones of one template must not share what only one may have."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from emberbox.guest import GuestClient
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    import pytest

    from emberbox import Engine

CLONES = 12
PROGRAM = """
import json, os, random, secrets, socket, ssl, tempfile, uuid
print(json.dumps({
    "random": random.random(), "uuid4": str(uuid.uuid4()), "uuid1": str(uuid.uuid1()), \
"urandom": os.urandom(16).hex(),
    "secrets": secrets.token_hex(16), "ssl": ssl.RAND_bytes(16).hex(), \
"kernel": open("/proc/sys/kernel/random/uuid").read(),
    "getrandom": os.getrandom(16).hex(), "device": open("/dev/urandom", "rb").read(16).hex(), \
"tempfile": tempfile.mktemp(),
    "systemrandom": random.SystemRandom().random(), "shuffle": str(random.sample(range(10**6), 8)), \
"hostname": socket.gethostname(),
}))
"""


async def test_no_two_clones_draw_the_same(engine: Engine) -> None:
    results = await asyncio.gather(*(engine.run(PROGRAM, runtime="python") for _ in range(CLONES)))
    drawn = [json.loads(result.stdout) for result in results]
    for source in drawn[0]:
        values = [one[source] for one in drawn]
        assert len(set(values)) == CLONES, f"{source} repeats: {values}"


async def test_the_clocks_of_clones_are_right(engine: Engine) -> None:
    code = "import time; print(time.time())"
    for _ in range(5):
        before = time.time()  # a clone is told the time that it was when its telling began
        async with engine.sandbox("python") as sandbox:
            await sandbox.confirm()
            guest = float((await sandbox.run(code)).stdout)
            after = time.time()
        assert before - 0.05 <= guest <= after + 0.05


async def test_the_clock_of_a_template_made_ten_minutes_ago_is_right(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template's guest believes that it is ten minutes earlier than it is; its clone must not."""
    template = await engine.template("python")
    async with engine.sandbox("python") as sandbox:
        guest = sandbox.guest
        await sandbox.confirm()
        await guest.clock(time.time_ns() - 600 * 10**9, timeout_s=PATIENCE_S)
        early = float((await sandbox.run("import time; print(time.time())")).stdout)
        assert time.time() - early > 590
        before = time.time()
        await guest.start_resume(
            entropy=bytes(32), unix_ns=time.time_ns(), hostname="later", disk_bytes=None
        ).answer(PATIENCE_S)
        late = float((await sandbox.run("import time; print(time.time())")).stdout)
        assert before - 0.05 <= late <= time.time() + 0.05
    assert template.record.waiting


async def test_every_clone_is_sent_entropy_of_its_own(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    original = GuestClient.start_resume

    def spy(self: GuestClient, **identity: object) -> object:
        sent.append(identity["entropy"])  # type: ignore[arg-type]
        return original(self, **identity)  # type: ignore[arg-type]

    monkeypatch.setattr(GuestClient, "start_resume", spy)
    for _ in range(3):
        await engine.run("print(1)", runtime="python")
    assert len(set(sent)) == 3
    assert all(len(entropy) >= 32 for entropy in sent)


GUARDS = """
import ctypes, json, struct, subprocess, sys

def guards():
    # 16 random bytes of the kernel, by AT_RANDOM: the C library's guards of stack and pointers.
    data = open("/proc/self/auxv", "rb").read()
    entries = dict(struct.iter_unpack("=QQ", data))
    return ctypes.string_at(entries[25], 16).hex()

if sys.argv[1:] == ["new"]:
    print(guards())
else:
    new = subprocess.run([sys.executable, __file__, "new"], capture_output=True, text=True, check=True)
    print(json.dumps({"waiting": guards(), "new": new.stdout.strip(), "hash": hash("seed")}))
"""


async def test_guards_of_waiting_programs_are_shared_and_those_of_new_ones_not(engine: Engine) -> None:
    """What SECURITY.md says of clones that are alike is true."""
    template = await engine.template("python")
    assert template.record.waiting
    results = await asyncio.gather(*(engine.run(GUARDS, runtime="python") for _ in range(4)))
    drawn = [json.loads(result.stdout) for result in results]
    assert len({one["waiting"] for one in drawn}) == 1
    assert len({one["hash"] for one in drawn}) == 1
    assert len({one["new"] for one in drawn} | {one["waiting"] for one in drawn}) == 5

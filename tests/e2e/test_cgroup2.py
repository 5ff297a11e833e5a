"""Control groups of version 2, which this host may lack: our own code makes them in a guest of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import emberbox
from emberbox.model import Limits
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from emberbox import Engine

SOURCE = Path(emberbox.__file__).parent
MODULES = ("vmm/process/cgroup.py", "doctor/trials/group.py")
PROGRAM = Path(__file__).with_name("groups_of_version_2.py")
MIB = 1024 * 1024
KILLED = -9


async def test_groups_of_version_2_bound_what_is_in_them(engine: Engine) -> None:
    async with engine.sandbox("python", memory_mib=512, limits=Limits(timeout_s=PATIENCE_S)) as sandbox:
        for name in MODULES:
            path = f"emberbox/{name}"
            for folder in list(Path(path).parents)[:-1]:
                await sandbox.write_file(f"{folder}/__init__.py", b"")
            await sandbox.write_file(path, (SOURCE / name).read_bytes())
        await sandbox.write_file(PROGRAM.name, PROGRAM.read_bytes())
        ran = await sandbox.command(["python3", PROGRAM.name], user="root")
    assert ran.ok, ran.stderr
    told = json.loads(ran.stdout)
    assert (told["prepared"], told["unified"], told["user"]) == (True, True, 0), told["reason"]
    assert told["all"] == {"memory.max": str(64 * MIB), "pids.max": "6"}
    assert told["one"] == {
        "memory.max": str(24 * MIB),
        "pids.max": "4",
        "cpu.max": "50000 100000",
        "cpu.weight": "200",
    }
    assert (told["hurried"], told["as before"]) == ("10000", "200")
    assert (told["filled"], told["oom kills"]) == (KILLED, 1)
    assert told["throttled"] > 0
    assert told["forked"] == 3, "it and three children"
    assert told["filled beyond all"] == KILLED
    assert told["forked beyond all"] == 5, "it and five children"
    assert (told["names"], told["swept"], told["left"]) == (["m-1", "m-2"], ["m-1", "m-2"], True)
    assert told["folders"] == []
    assert told["trial"] is None, "emberbox doctor tries them, too"

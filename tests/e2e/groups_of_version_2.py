"""Runs in a guest, as root: our own control groups of version 2, on a real kernel.

Prints what came of each as JSON. `emberbox` is here what of it was copied beside this file.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from emberbox.doctor.trials.group import try_group
from emberbox.vmm.process.cgroup import Cgroup, CgroupLimits, Cgroups

MIB = 1024 * 1024
ALL = CgroupLimits(memory_bytes=64 * MIB, pids=6)
ONE = CgroupLimits(memory_bytes=24 * MIB, pids=4, cpus=0.5, weight=2)
WIDE = CgroupLimits(memory_bytes=512 * MIB, pids=200)
FILL = f"held = bytearray({96 * MIB}); held[::4096] = b'x' * len(held[::4096]); print('kept')"
SPIN = "import time\nwhile time.process_time() < 0.5: pass"
FORK = """
import os, time
children = 0
try:
    for _ in range(20):
        if not os.fork():
            time.sleep(600)
        children += 1
except OSError:
    pass
print(children, flush=True)
"""


def started(group: Cgroup, code: str) -> subprocess.Popen[str]:
    """Start a program that runs once it is in the group."""
    held = f"import sys; sys.stdin.readline()\n{code}"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    group.add(process.pid)
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process


def read(group: Cgroup, name: str) -> str:
    return (group.folders[0] / name).read_text().strip()


def stat(group: Cgroup, name: str, field: str) -> int:
    return int(dict(line.split() for line in read(group, name).splitlines())[field])


def forked(group: Cgroup) -> int:
    """Return how many children a program in the group could have; all of them are ended."""
    process = started(group, FORK)
    assert process.stdout is not None
    count = int(process.stdout.readline())
    (group.folders[0] / "cgroup.kill").write_text("1")
    process.wait()
    return count


async def main() -> None:
    groups = Cgroups(Path("/sys/fs/cgroup"), ALL)
    prepared = groups.prepare()
    told: dict[str, object] = {"prepared": prepared, "reason": groups.reason, "unified": groups.unified}
    (parent,) = groups.parents
    told["all"] = {name: (parent / name).read_text().strip() for name in ("memory.max", "pids.max")}
    one = groups.create("m-1", ONE)
    told["one"] = {name: read(one, name) for name in ("memory.max", "pids.max", "cpu.max", "cpu.weight")}
    one.weigh(100)
    told["hurried"] = read(one, "cpu.weight")
    one.weigh(1)
    told["as before"] = read(one, "cpu.weight")

    told["filled"] = started(one, FILL).wait()
    told["oom kills"] = stat(one, "memory.events", "oom_kill")
    started(one, SPIN).wait()
    told["throttled"] = stat(one, "cpu.stat", "nr_throttled")
    told["forked"] = forked(one)

    wide = groups.create("m-2", WIDE)
    told["filled beyond all"] = started(wide, FILL).wait()
    told["forked beyond all"] = forked(wide)

    left = started(wide, "import time; time.sleep(600)")
    told["names"] = groups.names("m-")
    told["swept"] = await groups.sweep("m-")
    told["left"] = left.wait() == -signal.SIGKILL
    told["folders"] = [entry.name for entry in parent.iterdir() if entry.is_dir()]
    told["trial"] = await try_group(groups)
    told["user"] = os.geteuid()
    sys.stdout.write(json.dumps(told))


asyncio.run(main())

"""Tests the contract on a real Firecracker, or says why that cannot be done here.

`make test-firecracker` runs this as a program.

Ends with 0 also when there is nothing to test on: a host without Firecracker is no failure of Emberbox.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from emberbox.vmm.kvm.acceleration import probe_acceleration
from tests.e2e.drivers.kinds import KINDS, REAL


async def why_not() -> str | None:
    """Return all that is missing to test Firecracker here, in one line; None when nothing is."""
    kind = KINDS["firecracker"]
    with tempfile.TemporaryDirectory(prefix="emberbox-probe-") as folder:
        assert kind.prepare is not None
        await asyncio.to_thread(kind.prepare, Path(folder))
        report = await kind.driver(Path(folder)).probe()
        kvm = await probe_acceleration(Path(folder, "acceleration.json"))
    if report.usable:
        print(f"{report.version}: {report.reason}", flush=True)  # noqa: T201
        return None
    reasons = [report.reason.partition("\n")[0].rstrip(".")]
    if kvm.name != "kvm" and "KVM" not in reasons[0]:
        reasons.append(
            f"and hardware virtualization is missing ({kvm.reason.removeprefix('software emulation: ')})"
        )
    mends = [] if report.mend is None else [f"run: {report.mend}"]
    if kvm.name != "kvm":
        mends.append("use a host whose /dev/kvm runs guests")
    return f"{', '.join(reasons)}; to test it, {' and '.join(mends)}"


def main(arguments: list[str]) -> None:
    """Replace this process by pytest, or say that the tests are skipped."""
    reason = asyncio.run(why_not())
    if reason is not None:
        print(f"SKIPPED: the contract was not tested on Firecracker: {reason}")  # noqa: T201
        return
    command = [sys.executable, "-m", "pytest", str(Path(__file__).parent), *arguments]
    os.execve(sys.executable, command, {**os.environ, REAL: "1"})  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])

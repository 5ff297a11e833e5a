"""Run as a program: makes a machine and is killed, as an engine may be.

The test finds the things that it left.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
from pathlib import Path

from emberbox.vmm.base import SnapshotDriver
from tests.e2e.drivers.kinds import KINDS


async def main(kind: str, data: str, pickled: str) -> None:
    """Clone a machine by the snapshot and the spec that `pickled` holds, and end at once by SIGKILL."""
    snapshot, spec = pickle.loads(bytes.fromhex(pickled))  # noqa: S301
    driver = KINDS[kind].driver(Path(data))
    assert isinstance(driver, SnapshotDriver)
    loaded = await driver.open_snapshot(snapshot)
    await loaded.restore(spec)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

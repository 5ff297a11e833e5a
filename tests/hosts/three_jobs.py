"""A service and three jobs from its command line: from a clone, in another language, and cold."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from tests.e2e.services import ServiceProcess, service_folder

JOBS = (
    (("-r", "python", "-c", "print(6 * 7)"), "42\n"),
    (("-r", "bash", "-c", "echo $((6 * 7))"), "42\n"),
    (("-r", "python", "--cold", "-c", "import sys; print(sys.version_info[:2])"), "(3, 11)\n"),
)
_JOB_S = 600.0


async def submit(url: str, key: str, *arguments: str) -> tuple[int, str]:
    """Run `emberbox submit --wait`; returns its exit code, which is the program's, and the output."""
    command = [sys.executable, "-m", "emberbox.cli.main", "submit", "--wait", "--server", url, *arguments]
    environment = {**os.environ, "EMBERBOX_API_KEY": key}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environment)
    async with asyncio.timeout(_JOB_S):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def main() -> int:
    """Run the service and its jobs; returns 0 where each job printed what it should."""
    shared = Path(os.environ["EMBERBOX_TEST_DATA"])
    with tempfile.TemporaryDirectory(prefix="emberbox-") as scratch:
        service = ServiceProcess(service_folder(Path(scratch, "data"), shared))
        await service.start()
        try:
            url = await service.ready()
            key = (service.data / "admin.key").read_text().strip()
            ended = await asyncio.gather(*(submit(url, key, *arguments) for arguments, _ in JOBS))
            stopped = await service.stop()
        finally:
            await service.end()
    for (arguments, _), told in zip(JOBS, ended, strict=True):
        print(f"submit {' '.join(arguments)}: {told}")  # noqa: T201
    print(f"the service ended with {stopped}")  # noqa: T201
    return 0 if stopped == 0 and ended == [(0, expected) for _, expected in JOBS] else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

"""What is run in the other Debian, by its own Python: each stage a command with a bound."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time

PYTEST = (".venv/bin/pytest", "-q", "-p", "no:cacheprovider")
STAGES: dict[str, tuple[str, ...]] = {
    "demo": ("make", "demo"),
    "engine": (*PYTEST, "tests/e2e/test_run.py"),
    "drivers": (*PYTEST, "tests/e2e/drivers"),
    "service": (".venv/bin/python", "-m", "tests.hosts.three_jobs"),
}
BEFORE: dict[str, tuple[str, ...]] = {
    "lists": ("apt-get", "update", "-q"),
    "setup": ("make", "src/emberbox/_builtin/agent/emberbox-agent-amd64"),
}
"""What comes first: what every Debian that is in use has, and what all stages rest on."""
_STAGE_S = 5400.0


def command_of(stage: str) -> tuple[str, ...]:
    """Return a stage's command; a word that is no stage is a target of the Makefile."""
    return STAGES.get(stage) or ("make", stage)


def main(stages: list[str]) -> int:
    """Run stages in their order; returns 0 where all succeeded."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    version = ["qemu-system-x86_64", "--version"]
    qemu = subprocess.run(version, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    print(f"host: {system}, Python {platform.python_version()}, {qemu}", flush=True)  # noqa: T201
    failed = []
    for stage in (*BEFORE, *stages):
        command = BEFORE.get(stage) or command_of(stage)
        print(f"\n== {stage}: {' '.join(command)}", flush=True)  # noqa: T201
        started = time.monotonic()
        code = subprocess.run(command, check=False, timeout=_STAGE_S).returncode
        told = "passed" if code == 0 else f"failed with code {code}"
        print(f"== {stage}: {told} after {time.monotonic() - started:.0f} s", flush=True)  # noqa: T201
        failed += [stage] if code else []
    print(f"\n{system}: {'failed: ' if failed else 'all passed: '}{' '.join(failed or stages)}", flush=True)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    os.chdir(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120
    sys.exit(main(sys.argv[1:]))

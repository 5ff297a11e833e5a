"""Run as a program by `make test-hosts`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.hosts.root import CHECKOUT, DATA, REPOSITORY, fill_root, make_root

CGROUPS = Path("/sys/fs/cgroup")
GROUP_S = 60.0
DEFAULT_RUN = "demo service engine drivers"
_KEPT = ("PIP_", "SSL_CERT_", "REQUESTS_CA_BUNDLE", "EMBERBOX_TEST_LANGUAGES", "TERM")
"""Of the environment what the other Debian gets: how to reach the package index, and what is to be tested."""
_KEPT_ENDINGS = ("_proxy", "_PROXY")


def environment() -> dict[str, str]:
    """Return the environment of what runs there."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_KEPT) or name.endswith(_KEPT_ENDINGS)
    }
    return {
        **kept,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "EMBERBOX_DATA": f"/{DATA}",
        "EMBERBOX_TEST_DATA": f"/{DATA}",
    }


def enter(root: Path, *command: str) -> int:
    """Run a command with `root` as its root, in namespaces of its own; returns its exit code.

    All it started ends with it.
    """
    namespaces = ["unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--"]
    group = f"emberbox-hosts-{os.getpid()}"
    # unshare ignores SIGTERM; when this process ends in whatever way, all that is in there must as well.
    words = [
        "setpriv",
        "--pdeathsig=KILL",
        "--",
        *namespaces,
        str(REPOSITORY / "tests/hosts/enter.sh"),
        str(root),
        group,
        *command,
    ]
    try:
        return subprocess.run(words, env=environment(), check=False, cwd="/").returncode
    finally:
        for folder in (CGROUPS / group, *CGROUPS.glob(f"*/{group}")):
            remove_group(folder)


def remove_group(folder: Path) -> None:
    """Remove a control group and those in it, whose processes are ending.

    Raises `OSError` where one of them does not.
    """
    for below in [entry for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else ():
        remove_group(below)
    deadline = time.monotonic() + GROUP_S
    while folder.is_dir():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def main() -> int:
    """Make the root, run the stages in it, remove it. Returns the exit code."""
    if os.geteuid() != 0:
        told = (
            "test-hosts takes root's rights: it installs a Debian into a folder and mounts in a namespace "
            "of its own"
        )
        print(told)  # noqa: T201
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    suite = os.environ.get("HOSTS_SUITE") or "trixie"
    stages = (os.environ.get("HOSTS_RUN") or DEFAULT_RUN).split()
    images = os.environ.get("HOSTS_IMAGES")
    with ExitStack() as stack:
        folder = Path(os.environ.get("HOSTS_FOLDER") or _scratch(stack)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        root = folder / "root"
        make_root(suite, folder, packages="test" if any(stage.startswith("test") for stage in stages) else "")
        fill_root(root, Path(images).absolute() if images else None)
        code = enter(root, "python3", f"/{CHECKOUT}/tests/hosts/stages.py", *stages)
    left = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(folder) in line]
    for line in left:
        print(f"still mounted: {line}")  # noqa: T201
    return code or bool(left)


def _scratch(stack: ExitStack) -> str:
    cache = REPOSITORY / ".cache"
    cache.mkdir(exist_ok=True)
    made = tempfile.mkdtemp(prefix="hosts-", dir=cache)
    stack.callback(shutil.rmtree, made)
    return made


if __name__ == "__main__":
    sys.exit(main())

"""Launchers of the peers: two executables, named, called and copied as Firecracker's own are."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox.errors import RequirementMissing
from emberbox.vmm.qemu.processor import emulated_processor, known_flags

if TYPE_CHECKING:
    from collections.abc import Mapping

_PEERS = Path(__file__).resolve().parent
_REPOSITORY = _PEERS.parent.parent
_SYSTEM = (Path("/usr/bin/python3"), Path("/usr/local/bin/python3"))
_QEMU = Path("/usr/bin/qemu-system-x86_64")
_COMPILE_S = 180.0
_LAUNCHER = """\
#!{python} -I
import json
import sys

sys.path.insert(0, {repository!r})
from tests.peers.title import take_title
from tests.peers.{peer}.main import main

take_title(sys.argv)
sys.exit(main(sys.argv[1:], json.loads({options!r})))
"""


@dataclass(frozen=True, slots=True)
class Binaries:
    """Paths of the two launchers."""

    firecracker: Path
    jailer: Path


def make_binaries(
    folder: Path,
    *,
    version: str = "1.16.1",
    snapshot_version: str = "9.0.0",
    behaviour: Mapping[str, Any] | None = None,
) -> Binaries:
    """Write the launchers `firecracker` and `jailer` into `folder`, which is made. Repeating overwrites them.

    They name this checkout of the repository by its path, and run with the system's Python and its
    standard library alone.

    Args:
        folder: Where to.
        version: What both say they are.
        snapshot_version: Version of the snapshots that Firecracker's peer writes and takes.
        behaviour: How Firecracker's peer strays from its good ways (see `tests.peers.firecracker`);
            None for not at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    python = system_python()
    # Each machine starts its interpreter anew, and in a jail nothing can keep compiled modules.
    subprocess.run([python, "-I", "-m", "compileall", "-q", str(_PEERS)], timeout=_COMPILE_S, check=False)
    options = {
        "version": version,
        "snapshot_version": snapshot_version,
        "processor": peer_processor(),
        "behaviour": dict(behaviour or {}),
    }
    paths = {peer: folder / peer for peer in ("firecracker", "jailer")}
    for peer, path in paths.items():
        text = _LAUNCHER.format(
            python=python, repository=str(_REPOSITORY), peer=peer, options=json.dumps(options)
        )
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    return Binaries(**paths)


def peer_processor() -> str:
    """Return the `-cpu` of the peer's QEMU: that of the QEMU driver; `max` where no QEMU runs."""
    try:
        return emulated_processor(known_flags(_QEMU))
    except RequirementMissing:
        return "max"


def system_python() -> Path:
    """Return the peers' interpreter: the system's, which jails see too, else the one below this one."""
    for candidate in (*_SYSTEM, Path(sys.base_prefix) / "bin" / "python3"):
        if candidate.exists() and _recent(candidate):
            return candidate
    raise RuntimeError("the peers need a Python of 3.11 or later outside of a virtual environment")


def _recent(python: Path) -> bool:
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    return subprocess.run([python, "-I", "-c", check], timeout=_COMPILE_S, check=False).returncode == 0

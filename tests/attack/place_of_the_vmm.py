"""Runs the probe where a VMM would run: shut in as one, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hatch_build import find_go

from emberbox.vmm.process.confinement import SETPRIV, Cell, limit, wrap
from emberbox.vmm.process.jail import JailFiles, jail_root
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).parent / "probe/main.go"
UID = 799_998
"""Of a slot that no engine of the tests has."""
PROCESSES = 65
"""As many as a VMM with one virtual CPU may have threads."""
MOST = 400
_MARKED = "emberbox-victim"


def compile_probe(folder: Path) -> Path:
    """Return the probe as a static program in `folder`."""
    program = folder / "probe"
    environment = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOPROXY": "off", "GOFLAGS": ""}
    command = [find_go(), "build", "-trimpath", "-o", str(program), str(SOURCE)]
    subprocess.run(command, env=environment, check=True, timeout=PATIENCE_S, cwd=folder)
    return program


@dataclass(frozen=True, slots=True)
class Host:
    """What the attempts are aimed at: nothing of the host's own but what is made for them.

    Args:
        told: As the probe takes it.
        folder: Where the files are.
    """

    told: str
    folder: Path


@contextlib.contextmanager
def aimed_at(folder: Path) -> Iterator[Host]:
    """Lend a file, a folder, a process and two sockets that an attacker could be after."""
    secret, writable = folder / "secret", folder / "writable"
    secret.write_text("the host's")
    writable.mkdir(mode=0o777)
    writable.chmod(0o777)
    with contextlib.ExitStack() as held:
        service = held.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        name = f"emberbox-attack-{os.getpid()}"
        abstract.bind(f"\0{name}")
        abstract.listen()
        code = "import sys; sys.stdin.read()"
        victim = held.enter_context(
            subprocess.Popen([sys.executable, "-c", code, _MARKED], stdin=subprocess.PIPE)
        )
        held.callback(victim.kill)
        values = {
            "File": str(secret),
            "Folder": str(writable),
            "Program": "/bin/true",
            "Victim": victim.pid,
            "Marked": _MARKED,
            "Port": service.getsockname()[1],
            "Abstract": name,
            "Most": MOST,
        }
        yield Host(json.dumps(values), folder)


def run_free(program: Path, host: Host) -> dict[str, str]:
    """Run the probe with no wall around it; return each attempt's error, empty where it succeeded."""
    done = subprocess.run(
        [str(program), host.told], stdout=subprocess.PIPE, timeout=PATIENCE_S, check=False, env={}
    )
    return _outcomes(done.stdout)


def run_shut_in(program: Path, host: Host) -> dict[str, str]:
    """Run the probe in a VMM's cell, with a VMM's bounds; return as `run_free`.

    QEMU's own filter of system calls is not around it: the other walls hold by themselves.
    """
    # setpriv, which gives up the rights, starts the program from inside.
    files = JailFiles(programs=(program, SETPRIV))
    cell = Cell(root=jail_root(host.folder / "jails", files), uid=UID)
    told, tell = os.pipe()
    held, release = os.pipe()
    command = wrap(cell, [str(program), host.told], tell, held)
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(tell, held), env={}) as running:
        try:
            os.close(tell)
            text = b""
            while b"}" not in text:
                piece = os.read(told, 4096)
                assert piece, "bubblewrap ended before it started the probe"
                text += piece
            pid = json.loads(text)["child-pid"]
            limit(pid, file_bytes=0, processes=PROCESSES if os.geteuid() == 0 else None)
            os.write(release, b"1")
            return _outcomes(running.communicate(timeout=PATIENCE_S)[0])
        finally:
            running.kill()
            for descriptor in (told, release, held):
                os.close(descriptor)


def _outcomes(output: bytes) -> dict[str, str]:
    return dict(json.loads(line) for line in output.splitlines())

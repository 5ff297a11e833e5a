"""What a real Firecracker 1.17 answered, good requests and bad: the peer answers the same.

The recording is our own, in 178 lines. Each is a request: `case` (one process for all that follow
each other in it), `request`, `body` (text is sent as it is), `status`, `answer`; or the end of the
case's process, `exit after SIGTERM`, with its exit code, which is 1 where it had ended by itself.
`<3000 times x>` stands for so many letters.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.patience import PATIENCE_S
from tests.unit.peers.firecracker_process import ROOT, Connection, PeerProcess
from tests.unit.peers.tiny_kernel import tiny_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDING = Path(__file__).with_name("firecracker-1.17-answers.jsonl")
ORIGINAL = ROOT / "../shared/reference" / RECORDING.name
VERSION = "1.17.0-dev"
FILES = {
    "text": b"text\n",
    "initrd": b"",
    "empty.img": b"",
    "odd.img": b"x" * 1000,
    "disk.img": b"\0" * 65_536,
}
QEMU = Path("/usr/bin/qemu-system-x86_64")
_PLACE = re.compile(r" at line \d+ column \d+")
_MANY = re.compile(r"<(\d+) times (.)>")
_STARTS = {"action_type": "InstanceStart"}
_ENDED_S = PATIENCE_S


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the recording."""

    case: str
    request: str
    body: Any
    status: int
    answer: Any

    @property
    def sent(self) -> str | None:
        """The body as it goes over the socket."""
        if self.body is None or isinstance(self.body, str):
            return self.body
        return _MANY.sub(lambda found: found[2] * int(found[1]), json.dumps(self.body))


def recorded() -> list[Line]:
    lines = [json.loads(line) for line in RECORDING.read_text().splitlines()]
    return [
        Line(told["case"], told["request"], told.get("body"), told["status"], told.get("answer"))
        for told in lines
    ]


def cases() -> dict[str, list[Line]]:
    return {name: list(lines) for name, lines in itertools.groupby(recorded(), key=lambda line: line.case)}


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[PeerProcess]:
    """A fresh process in a network namespace of its own, with the files that the requests name."""
    for name, content in {**FILES, "kernel": tiny_kernel(), "rootfs": FILES["disk.img"]}.items():
        (tmp_path / name).write_bytes(content)
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("unshare(1) is not here")
    within = (unshare, "--net") if os.geteuid() == 0 else (unshare, "--map-root-user", "--net")
    tried = subprocess.run([*within, "true"], capture_output=True, text=True, timeout=_ENDED_S, check=False)
    if tried.returncode:
        pytest.skip(f"no network namespace can be made here: {tried.stderr.strip()}")
    with PeerProcess(tmp_path / "peer", version=VERSION, cwd=tmp_path, within=within).ready() as running:
        yield running


def spoken(answer: Any) -> Any:
    """Return an answer without the places in which JSON was wrong.

    No other reader of JSON tells them alike.
    """
    if isinstance(answer, str):
        return _PLACE.sub("", answer)
    return {key: spoken(value) for key, value in answer.items()} if isinstance(answer, dict) else answer


def parsed(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def exit_code(peer: PeerProcess, expected: int) -> int:
    if expected < 0:
        peer.process.send_signal(signal.SIGTERM)
    return peer.ended(_ENDED_S)


@pytest.mark.parametrize("case", cases())
def test_it_answers_as_the_real_one_did(peer: PeerProcess, case: str) -> None:
    lines = cases()[case]
    if any(line.body == _STARTS and line.status == 204 for line in lines) and not QEMU.exists():
        pytest.skip("QEMU, which runs the peer's guests, is not here")
    differing = []
    for line in lines:
        if line.request == "exit after SIGTERM":
            assert exit_code(peer, line.status) == line.status
            continue
        method, _, path = line.request.partition(" ")
        with Connection(peer.socket) as connection:
            status, text = connection.exchange(method, path, line.sent)
        if (status, spoken(parsed(text))) != (line.status, spoken(line.answer)):
            differing.append((line.request, line.body, (line.status, line.answer), (status, parsed(text))))
    assert not differing, "\n".join(
        f"{request} {body}\n  real: {real}\n  peer: {ours}" for request, body, real, ours in differing
    )


def test_the_recording_is_whole() -> None:
    assert len(recorded()) == 178
    assert {line.status for line in recorded()} == {200, 204, 400, -15, 1}


def test_it_is_the_recording_that_was_made() -> None:
    if not ORIGINAL.is_file():
        pytest.skip("the recording is not kept beside this checkout")
    assert RECORDING.read_bytes() == ORIGINAL.read_bytes()

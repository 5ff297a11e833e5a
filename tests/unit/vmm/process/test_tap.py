from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from emberbox.vmm.base import NetworkAttachment
from emberbox.vmm.process.tap import open_tap
from tests.patience import PATIENCE_S

MAC = "02:00:00:00:00:01"


def _devices(pid: int | str) -> set[str]:
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return {line.partition(":")[0].strip() for line in lines}


@pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and /dev/net/tun"
)
def test_a_tap_is_opened_in_its_namespace_and_nowhere_else() -> None:
    command = ["unshare", "--net", "sh", "-c", "echo ready; read line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            if other.stdout.readline() != b"ready\n":
                pytest.skip("no network namespace can be made here")
            netns = Path(f"/proc/{other.pid}/ns/net")
            try:
                descriptor = open_tap(NetworkAttachment(tap="emberbox-tap", mac=MAC, netns=netns))
            except PermissionError:
                pytest.skip("this root may not make a TAP device")
            assert "emberbox-tap" in _devices(other.pid) - _devices("self")
            with pytest.raises(OSError, match="busy"):
                open_tap(NetworkAttachment(tap="emberbox-tap", mac=MAC, netns=netns))
            os.close(descriptor)
        finally:
            other.communicate(b"\n", timeout=PATIENCE_S)


def test_a_namespace_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_tap(NetworkAttachment(tap="emberbox-tap", mac=MAC, netns=tmp_path / "gone"))

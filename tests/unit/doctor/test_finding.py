"""The line that installs packages."""

from __future__ import annotations

from emberbox.doctor.finding import install_command


def test_install_command() -> None:
    assert install_command("b", "a", "b", as_root=True) == "apt-get install -y a b"
    assert install_command("a", as_root=False) == "sudo apt-get install -y a"

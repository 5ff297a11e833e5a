"""`emberbox serve` with the real agent on this host in the place of VMs; takes the same words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from emberbox.cli.app import run_app
from emberbox.server import serving
from emberbox.testing.engine import HostEngine

if TYPE_CHECKING:
    import signal

    from emberbox.config import Settings

_run_service = serving.run_service


def _on_host(
    settings: Settings, engine: object = None, *, new_admin_key: bool = False
) -> signal.Signals | None:
    return _run_service(settings, HostEngine(settings), new_admin_key=new_admin_key)


if __name__ == "__main__":
    serving.run_service = _on_host
    sys.exit(run_app(["serve", *sys.argv[1:]]))

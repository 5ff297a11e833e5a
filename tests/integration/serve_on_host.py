"""`emberbox serve` with the real agent on this host in the place of VMs; takes the same words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from emberbox.cli import serving
from emberbox.cli.app import run_app
from emberbox.testing.engine import HostEngine

if TYPE_CHECKING:
    from emberbox.cli.serve import ServeOptions
    from emberbox.config import Settings

_run_service = serving.run_service


def _on_host(settings: Settings, options: ServeOptions, engine: object = None) -> int:
    return _run_service(settings, options, HostEngine(settings))


if __name__ == "__main__":
    serving.run_service = _on_host
    sys.exit(run_app(["serve", *sys.argv[1:]]))

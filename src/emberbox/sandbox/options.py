"""What a sandbox is opened with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.model import RunParameters

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.model import Limits
    from emberbox.sandbox.machines.console import ConsoleReader
    from emberbox.sandbox.packages.requests import Packages


class SandboxParameters(RunParameters, total=False):
    """What a sandbox is opened with: options of its programs, and these.

    - `limits`: bounds of runs where the options name none; None for the runtime's defaults.
    - `script_drive`: raw image of a file system, mounted read-only at /mnt/script; implies a cold boot.
    - `scope`: whose compiled programs and packages may be used again, such as the id of an API key; None for
      this library user's own.
    - `packages`: what its programs may import besides: a requirements.txt or package.json, as a path or its
      text, or `{"pip": ["numpy==1.26.4"]}`. Installed once, by a VM of its own, and kept.
    - `console`: gets each line of the guest's console as it comes, escaped: of a cold boot from its first
      moment, of a clone, which is then made for the call, from its restore on. The kernel prints all it has
      to say. None for nobody.
    """

    limits: Limits | None
    script_drive: Path | None
    scope: str | None
    packages: Packages | None
    console: ConsoleReader | None

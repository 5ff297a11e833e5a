"""The programs that a driver needs on the host, and the command that brings them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing

if TYPE_CHECKING:
    from collections.abc import Iterable


def find_program(name: str) -> Path | None:
    """Return the absolute path of the program `name` on PATH, links resolved; None when it is missing."""
    found = shutil.which(name)
    return None if found is None else Path(found).resolve()


def require_programs(names: Iterable[str], *, mend: str) -> dict[str, Path]:
    """Return where the programs `names` are.

    Raises `RequirementMissing`, which names all that are missing.
    """
    found = {name: find_program(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise RequirementMissing(
            f"this host does not have {', '.join(missing)}, which virtual machines need", mend=mend
        )
    return {name: path for name, path in found.items() if path is not None}

"""The programs that a driver needs on the host, the command that brings them, and what they tell."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing

if TYPE_CHECKING:
    from collections.abc import Iterable

_TELL_S = 30.0


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


def told_by(program: Path, *arguments: str, pattern: str, mend: str) -> str:
    """Run a program and return what `pattern` finds in its output. Blocks, for 30 s at most.

    Raises `RequirementMissing` with this mend where it does not run, or tells nothing of the kind.
    """
    try:
        told = subprocess.run(
            [program, *arguments], capture_output=True, text=True, timeout=_TELL_S, check=True, env={}
        ).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        raise RequirementMissing(
            f"{program.name} does not run on this host", mend=mend, detail=str(error)
        ) from error
    found = re.search(pattern, told)
    if found is None:
        raise RequirementMissing(
            f"{' '.join((program.name, *arguments))} tells nothing; is it what it is taken for?",
            mend=mend,
            detail=told[:500],
        )
    return found[0]

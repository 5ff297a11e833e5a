"""What commands are given of this machine: files, folders, environment variables.

Checked before anything is started or sent.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def check_folder(folder: str) -> Path:
    """Return the folder, made if it is missing, so that a mistake is told before the program runs.

    Raises `InvalidInput`.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"--output-dir: cannot make the folder {folder}: {error.strerror}") from error
    return path


def check_file(path: Path, instead: str = "") -> None:
    """Raise `InvalidInput` for what is no file that can be read; `instead` ends what is said of a folder."""
    if not path.exists():
        raise InvalidInput(f"there is no file {str(path)!r}")
    if path.is_dir():
        raise InvalidInput(
            f"{str(path)!r} is a folder; name the script in it, and pass the others with --file{instead}"
        )
    if not os.access(path, os.R_OK):
        raise InvalidInput(f"{str(path)!r} may not be read by you")


def read_environment(
    given: Iterable[str], option: str = "--env", *, host: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the variables of `K=V` and `K`; the latter takes its value from the host.

    Args:
        given: As on the command line.
        option: What it was given with, for messages, which tell names alone.
        host: The host's variables; None for this process's own.
    """
    known = os.environ if host is None else host
    variables = {}
    for text in given:
        name, joined, value = text.partition("=")
        if not name:
            raise InvalidInput(
                f"{option}: a variable has a name; give NAME=VALUE, or NAME to take its value from here"
            )
        if not joined and name not in known:
            raise InvalidInput(f"{option} {name}: it is not set here; give it as {name}=VALUE")
        variables[name] = value if joined else known[name]
    return variables


def read_files(given: Iterable[str]) -> dict[str, Path]:
    """Return guest path → host path of `HOST` and `HOST:GUEST`. A folder stands for all files below it."""
    files: dict[str, Path] = {}
    for text in given:
        host, guest = _split(text)
        if host.is_dir():
            base = guest or host.resolve().name
            files |= {
                f"{base}/{file.relative_to(host).as_posix()}": file
                for file in sorted(host.rglob("*"))
                if file.is_file()
            }
        else:
            check_file(host)
            files[guest or host.name] = host
    return files


def _split(text: str) -> tuple[Path, str]:
    """Split at the last colon, unless the whole names something that exists."""
    host, joined, guest = text.rpartition(":")
    if not joined or Path(text).exists():
        return Path(text), ""
    if not host or not guest:
        raise InvalidInput(f"--file {text!r}: give HOST, or HOST:GUEST with a path in the work folder")
    return Path(host), guest.rstrip("/") if not guest.endswith("/") or Path(host).is_dir() else guest + Path(
        host
    ).name

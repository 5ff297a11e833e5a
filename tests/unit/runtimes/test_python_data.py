"""The runtime python-data has the files of the runtime python."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.runtimes import builtin_folder, load

if TYPE_CHECKING:
    from pathlib import Path


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_both_wait_and_draw_by_the_same_files() -> None:
    [python], [data] = (
        load(builtin_folder() / name / "runtime.toml").image.files for name in ("python", "python-data")
    )
    assert data.samefile(python)
    found = content(python)
    assert {
        "usr/lib/emberbox/python/sitecustomize.py",
        "usr/lib/python3/dist-packages/emberbox_figures.py",
    } <= set(found)

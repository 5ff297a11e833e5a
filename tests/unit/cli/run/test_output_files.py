"""Files of a program's output folder on the host: they stay below the folder that was named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.cli.inputs import check_folder
from emberbox.cli.run.output_files import write_files
from emberbox.errors import InvalidInput
from emberbox.model import OutputFile

if TYPE_CHECKING:
    from pathlib import Path


def test_files_are_written_with_their_folders(tmp_path: Path) -> None:
    folder = check_folder(str(tmp_path / "new" / "out"))
    (folder / "a.txt").write_text("old")
    assert write_files(folder, [OutputFile("a.txt", b"new"), OutputFile("deep/er/b.bin", b"\0\xff")]) == []
    assert (folder / "a.txt").read_bytes() == b"new"
    assert (folder / "deep/er/b.bin").read_bytes() == b"\0\xff"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "..", "a//b", ""])
def test_names_that_lead_out_are_not_written(tmp_path: Path, name: str) -> None:
    folder = check_folder(str(tmp_path / "out"))
    problems = write_files(folder, [OutputFile(name, b"x"), OutputFile("good", b"x")])
    assert len(problems) == 1
    assert "leads out" in problems[0]
    assert [path.name for path in folder.iterdir()] == ["good"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_links_below_the_folder_are_not_followed(tmp_path: Path) -> None:
    folder = check_folder(str(tmp_path / "out"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "file").write_text("mine")
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    (folder / "plain").symlink_to(tmp_path / "file")
    problems = write_files(folder, [OutputFile("sub/x", b"x"), OutputFile("plain", b"x")])
    assert len(problems) == 1
    assert "is a link" in problems[0]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert (tmp_path / "file").read_text() == "mine"
    assert (folder / "plain").read_bytes() == b"x"


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="--output-dir"):
        check_folder(str(tmp_path / "file"))

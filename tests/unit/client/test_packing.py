"""What is uploaded: one file as it is, or several as one archive."""

from __future__ import annotations

import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from emberbox.client.packing import LEFT_OUT, Source, packed
from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    for path, content in {
        "main.py": "1",
        "lib/a.py": "2",
        "lib/é ü.txt": "3",
        "__pycache__/x.pyc": "4",
        "lib/.git/config": "5",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    (folder / "tool").write_text("6")
    (folder / "tool").chmod(0o700)
    (folder / "empty").mkdir()
    return folder


def _listed(
    source: Source | list[str | Path], leave_out: tuple[str, ...] = LEFT_OUT
) -> tuple[str, dict[str, tuple[str, int]]]:
    with packed(source, None, leave_out) as (name, path), tarfile.open(path) as archive:
        found = {}
        for entry in archive:
            content = archive.extractfile(entry)
            assert content is not None
            found[entry.name] = (content.read().decode(), entry.mode)
        return name, found


def test_a_folder(project: Path) -> None:
    name, found = _listed(project)
    assert name == "project.tar.gz"
    assert found == {
        "main.py": ("1", 0o644),
        "lib/a.py": ("2", 0o644),
        "lib/é ü.txt": ("3", 0o644),
        "tool": ("6", 0o755),
    }
    assert set(_listed(str(project), ("*.py",))[1]) == {
        "__pycache__/x.pyc",
        "lib/.git/config",
        "lib/é ü.txt",
        "tool",
    }


def test_the_folder_that_one_is_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert _listed(".")[0] == "project.tar.gz"


def test_several_paths(project: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("7")
    assert set(_listed([project / "lib", tmp_path / "other.py"])[1]) == {
        "lib/a.py",
        "lib/é ü.txt",
        "other.py",
    }
    (project / "other.py").write_text("8")
    with pytest.raises(InvalidInput, match="same name"):
        _listed([project / "other.py", tmp_path / "other.py"])


def test_the_same_content_makes_the_same_archive(project: Path) -> None:
    with packed(project, None, LEFT_OUT) as (_, path):
        first = path.read_bytes()
    os.utime(project / "main.py", (1, 1))
    with packed(project, None, LEFT_OUT) as (_, path):
        assert path.read_bytes() == first


def test_links(project: Path, tmp_path: Path) -> None:
    (project / "loop").symlink_to(project)
    (project / "broken").symlink_to("nowhere")
    (project / "link.py").symlink_to("main.py")
    os.mkfifo(project / "pipe")
    assert set(_listed(project)[1]) == {"main.py", "lib/a.py", "lib/é ü.txt", "tool", "link.py"}


def test_one_file_is_sent_as_it_is(project: Path) -> None:
    with packed(project / "main.py", None, ()) as (name, path):
        assert (name, path) == ("main.py", project / "main.py")


def test_bytes(tmp_path: Path) -> None:
    with packed(b"x", "a.py", ()) as (name, path):
        assert (name, path.read_bytes()) == ("a.py", b"x")
    assert not path.exists()
    with pytest.raises(InvalidInput, match="filename"), packed(b"x", None, ()):
        pass


@pytest.mark.parametrize("source", ["nothing", [], ["nothing"]])
def test_nothing(source: str | list[str | Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"no file or folder 'nothing'|nothing to upload"):
        _listed(source)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="nothing to upload"):
        _listed(tmp_path)


def test_nothing_is_left_behind(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    with pytest.raises(KeyError), packed(project, None, ()):
        raise KeyError
    assert list(scratch.iterdir()) == []

"""What a build VM made is taken entry by entry, and nothing of it gets out of its folder."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from emberbox.images.rootfs.layers import LayerBounds, LayerRefused, unpack_layer

if TYPE_CHECKING:
    from pathlib import Path

BOUNDS = LayerBounds(folder="usr/local", size=1000, files=20)


def _entry(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def _folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return _entry(name, type=tarfile.DIRTYPE, mode=0o777)


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    return _entry(name, type=kind, linkname=target)


def _archive(tmp_path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    path = tmp_path / "layer.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return path


def test_files_folders_and_links_come_over_and_modes_are_made_plain(tmp_path: Path) -> None:
    archive = _archive(
        tmp_path,
        _folder("usr"),
        _folder("usr/local"),
        _entry("usr/local/lib/a.py", b"a = 1", mode=0o4600, mtime=1_600_000_000.7),
        _entry("usr/local/bin/a", b"#!x", mode=0o6711, uid=1000),
        _link("usr/local/bin/b", "../lib/a.py"),
        _link("usr/local/lib/hard", "usr/local/lib/a.py", tarfile.LNKTYPE),
    )
    unpack_layer(archive, tmp_path / "root", BOUNDS)
    local = tmp_path / "root/usr/local"
    assert (local / "lib/a.py").read_bytes() == b"a = 1"
    assert (local / "lib/a.py").stat().st_mode & 0o7777 == 0o644
    assert (local / "lib/a.py").stat().st_mtime == 1_600_000_000
    assert (local / "bin/a").stat().st_mode & 0o7777 == 0o755
    assert (local / "bin").stat().st_mode & 0o7777 == 0o755
    assert (local / "bin/b").readlink().as_posix() == "../lib/a.py"
    assert (local / "lib/hard").samefile(local / "lib/a.py")


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([_entry("etc/passwd", b"x")], "outside of /usr/local"),
        ([_entry("usr/bin/python3", b"x")], "outside of /usr/local"),
        ([_entry("usr/local/../../etc/x", b"x")], "outside"),
        ([_entry("/usr/local/x", b"x")], "outside"),
        ([_entry("usr", b"x")], "must be a folder"),
        ([_link("usr", "/etc")], "must be a folder"),
        ([_link("usr/local/x", "/etc/passwd")], "leads out"),
        ([_link("usr/local/x", "../../etc/passwd")], "leads out"),
        ([_link("usr/local/x", "/etc/passwd", tarfile.LNKTYPE)], "outside"),
        ([_link("usr/local/x", "usr/local/none", tarfile.LNKTYPE)], "no file of theirs"),
        ([_link("usr/local/d", "."), _entry("usr/local/d/x", b"x")], "no folder"),
        (
            [
                _entry("usr/local/f", b"x"),
                _link("usr/local/l", "f"),
                _link("usr/local/h", "usr/local/l", tarfile.LNKTYPE),
            ],
            "no file",
        ),
        ([_entry("usr/local/x", type=tarfile.CHRTYPE, devmajor=1, devminor=5)], "neither"),
        ([_entry("usr/local/x", type=tarfile.FIFOTYPE)], "neither"),
        ([_entry("usr/local/x", b"1"), _entry("usr/local/x", b"2")], "twice"),
        ([_entry("usr/local/x", b"1"), _link("usr/local/x", "y")], "twice"),
        ([_entry("usr/local/x", b"1"), _folder("usr/local/x")], "twice"),
        ([_entry("usr/local/x", bytes(1001))], "more than 0 MiB"),
        ([_entry(f"usr/local/{number}") for number in range(21)], "more than 20 files"),
        ([_folder("./") for _ in range(21)], "more than 20 files"),
        ([_entry("usr/local/" + "d/" * 70 + "x")], "too deep"),
        ([_entry("usr/local/x", pax_headers={"comment": "x" * 2_000_000})], "damaged"),
    ],
)
def test_what_a_layer_must_not_hold_is_refused(
    tmp_path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], problem: str
) -> None:
    archive = _archive(tmp_path, *entries)
    with pytest.raises(LayerRefused, match=problem):
        unpack_layer(archive, tmp_path / "root", BOUNDS)
    assert not (tmp_path / "etc").exists()


def test_an_archive_that_ends_early_is_refused(tmp_path: Path) -> None:
    archive = _archive(tmp_path, _entry("usr/local/x", bytes(900)))
    archive.write_bytes(archive.read_bytes()[:700])
    with pytest.raises(LayerRefused):
        unpack_layer(archive, tmp_path / "root", BOUNDS)

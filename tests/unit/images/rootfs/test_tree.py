from __future__ import annotations

import io
import tarfile
import threading
from pathlib import Path

import pytest

from emberbox.errors import ImageBuildFailed
from emberbox.images.rootfs.ext4 import Owner
from emberbox.images.rootfs.tree import unpack

STATUS = (
    "Package: bash\nStatus: install ok installed\nVersion: 1\n\n"
    "Package: apt\nStatus: install ok installed\nVersion: 2\n"
)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "root.tar"
    with tarfile.open(path, "w") as tar:

        def add(
            name: str,
            data: bytes = b"",
            kind: bytes = tarfile.REGTYPE,
            *,
            link: str = "",
            mode: int = 0o644,
            uid: int = 0,
        ) -> None:
            member = tarfile.TarInfo(f"./{name}")
            member.type, member.linkname, member.mode, member.uid, member.gid = kind, link, mode, uid, uid
            member.size, member.mtime = len(data), 1_600_000_000
            tar.addfile(member, io.BytesIO(data))

        add("", kind=tarfile.DIRTYPE, mode=0o755)
        add("bin", kind=tarfile.SYMTYPE, link="usr/bin")
        for folder in (
            "usr",
            "usr/bin",
            "usr/share",
            "usr/share/doc",
            "usr/lib",
            "var",
            "var/lib",
            "var/lib/dpkg",
            "var/lib/dpkg/info",
            "home",
            "dev",
        ):
            add(folder, kind=tarfile.DIRTYPE, mode=0o755)
        add("usr/bin/bash", b"bash", mode=0o755)
        add("usr/bin/rbash", kind=tarfile.SYMTYPE, link="bash")
        add("usr/bin/hard", kind=tarfile.LNKTYPE, link="./usr/bin/bash")
        add("usr/bin/apt", b"apt", mode=0o755)
        add("usr/bin/su", b"su", mode=0o4755)
        add("usr/share/doc/x", b"doc")
        add("usr/lib/a.py", b"a")
        add("home/mail", b"m", uid=8)
        add("dev/null", kind=tarfile.CHRTYPE)
        add("var/lib/dpkg/status", STATUS.encode())
        add("var/lib/dpkg/info/bash.list", b"/.\n/bin\n/bin/bash\n/usr\n/usr/share\n")
        add("var/lib/dpkg/info/apt.list", b"/.\n/bin\n/bin/apt\n/usr\n/usr/share\n/usr/gone\n")
    return path


def test_unpack_leaves_out_what_no_guest_needs(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    unpacked = unpack(archive, root, ["bash"], ["usr/lib/*.py"], threading.Event())
    found = {path.relative_to(root).as_posix() for path in root.rglob("*")}
    assert {"bin", "usr/bin/bash", "usr/bin/rbash", "usr/bin/hard", "usr/bin/su", "home/mail", "dev"} <= found
    assert not found & {"usr/bin/apt", "usr/share/doc", "usr/lib/a.py", "dev/null", "var/lib/dpkg"}
    assert unpacked.owners == {"home/mail": Owner(8, 8)}
    assert [package.name for package in unpacked.packages] == ["bash"]


def test_unpack_keeps_times_links_and_modes_but_for_setuid(archive: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    unpack(archive, root, ["bash"], [], threading.Event())
    assert (root / "usr/bin/su").stat().st_mode & 0o7777 == 0o755
    assert (root / "usr/bin/bash").stat().st_mtime == 1_600_000_000
    assert (root / "usr/bin").stat().st_mtime == 1_600_000_000
    assert (root / "usr/bin/hard").samefile(root / "usr/bin/bash")
    assert (root / "bin").readlink() == Path("usr/bin")


def test_unpack_stops_and_refuses_what_is_no_root(archive: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(ImageBuildFailed, match="cancelled"):
        unpack(archive, tmp_path / "one", [], [], stop)
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    with pytest.raises(ImageBuildFailed, match="end early"):
        unpack(tmp_path / "empty.tar", tmp_path / "two", [], [], threading.Event())

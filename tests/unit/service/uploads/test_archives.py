"""Archives: what is taken, and all that is refused."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import tarfile
import tracemalloc
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emberbox.errors import EmberboxError, InvalidArchive, PayloadTooLarge
from emberbox.model import MIB
from emberbox.service.uploads.archives import ArchiveBounds, archive_kind, unpack
from tests.storing import boundless
from tests.unit.blobs.mounts import small_disk
from tests.unit.files.tar_builders import make_tar, raw_header, tar_info, tar_of
from tests.unit.service.uploads.archive_builders import make_zip, raw_zip, zip_entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BOUNDS = ArchiveBounds(total_bytes=32 * MIB, files=1000)
NAMES = [
    "main.py",
    "ß/größe.py",
    "日本語/スクリプト.py",
    "العربية.py",
    "हिन्दी/मुख्य.py",
    "👩‍🚀/🚀.py",
    "a b/'quoted' \"x\".py",
    "Ελληνικά.py",
    "ไทย.py",
    "e\u0301.py",
]


class Opener:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    def __call__(self, data: bytes, bounds: ArchiveBounds = BOUNDS) -> dict[str, bytes]:
        self.number += 1
        path, target = self.folder / f"{self.number}.archive", self.folder / f"{self.number}"
        path.write_bytes(data)
        target.mkdir()
        kind = archive_kind(path)
        assert kind is not None, "it is not recognised"
        found: dict[str, bytes] = {}
        for file in unpack(path, kind, target, bounds, boundless()):
            assert not isinstance(file.source, bytes)
            assert file.source.parent == target
            found[file.path] = file.source.read_bytes()
        return found


@pytest.fixture
def opened(tmp_path: Path) -> Opener:
    return Opener(tmp_path)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 6)


MAKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": make_zip,
    "stored zip": lambda files: make_zip(files, compression=zipfile.ZIP_STORED),
    "pax": make_tar,
    "gnu": lambda files: make_tar(files, form=tarfile.GNU_FORMAT),
    "tar.gz": lambda files: make_tar(files, mode="w:gz"),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=list(MAKERS))
def test_files_come_out_as_they_went_in(opened: Opener, make: Callable[[dict[str, bytes]], bytes]) -> None:
    files = {name: name.encode() * 100 for name in NAMES} | {
        "empty": b"",
        "big": bytes(range(256)) * 5000,
        "x" * 200 + "/" + "y" * 250: b"long",
    }
    assert opened(make(files)) == files


def test_what_an_archive_is_its_bytes_say(tmp_path: Path) -> None:
    cases = {
        "zip": make_zip({"a": b"1"}),
        "tar": make_tar({"a": b"1"}),
        "tar.gz": make_tar({"a": b"1"}, mode="w:gz"),
        None: b"print('PK')",
    }
    file = tmp_path / "file"
    for kind, data in cases.items():
        file.write_bytes(data)
        assert archive_kind(file) == kind
    for data in (
        b"",
        b"PK",
        b"\x1f\x8b",
        gz(b"text alone"),
        b"x" * 257 + b"ustar" + b"x" * 400,
        b"\x1f\x8b" + bytes(600),
    ):
        file.write_bytes(data)
        assert archive_kind(file) is None, data[:20]


def test_executable_files_stay_so(tmp_path: Path) -> None:
    archives = [
        tar_of((tar_info("run", mode=0o711), b"x"), (tar_info("not", mode=0o4644), b"x")),
        zip_entry("run", b"x", mode=0o100755),
    ]
    for number, data in enumerate(archives):
        path = tmp_path / f"{number}"
        path.write_bytes(data)
        target = tmp_path / f"{number}.out"
        target.mkdir()
        modes = {
            file.path: file.mode
            for file in unpack(path, archive_kind(path) or "", target, BOUNDS, boundless())
        }
        assert modes["run"] == 0o755
        assert modes.get("not", 0o644) == 0o644


def test_folders_and_their_own_names_are_passed_over(opened: Opener) -> None:
    tar = tar_of(
        (tar_info("./", tarfile.DIRTYPE), b""),
        (tar_info("./a/", tarfile.DIRTYPE), b""),
        (tar_info("./a/./b//c"), b"1"),
    )
    assert opened(tar) == {"a/b/c": b"1"}
    assert opened(make_zip({"a/": b"", "a/b/": b"", "a/b/c": b"1"})) == {"a/b/c": b"1"}


def test_archives_of_the_usual_programs(opened: Opener, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    files = {"main.py": b"1", "lib/" + "x" * 95 + "/ß.py": b"2" * 5000, "日本/empty": b""}
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "no files").mkdir()
    for options in ("-cf", "-czf"):
        for form in ("gnu", "pax", "ustar"):
            command = ["tar", f"--format={form}", options, tmp_path / "made", "-C", folder, "."]
            subprocess.run(command, check=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})
            assert opened((tmp_path / "made").read_bytes()) == files


def test_archives_of_repositories_begin_with_a_comment(opened: Opener) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", pax_headers={"comment": "0" * 40}) as archive:
        archive.addfile(tar_info("repo/main.py", size=1), io.BytesIO(b"1"))
    assert opened(target.getvalue()) == {"repo/main.py": b"1"}


def test_zips_that_were_streamed_state_their_sizes_behind(opened: Opener) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("big", "w", force_zip64=True) as entry:
            entry.write(b"x" * 100_000)
        archive.writestr("small", b"y")
    assert opened(bytes(pipe.data)) == {"big": b"x" * 100_000, "small": b"y"}


def test_litter_of_macs_is_left_out(opened: Opener) -> None:
    assert opened(make_zip({"__MACOSX/._a": b"x", "a": b"1", ".DS_Store": b"x", "b/.DS_Store": b"x"})) == {
        "a": b"1"
    }


def test_backslashes_of_windows_separate_folders(opened: Opener) -> None:
    assert opened(raw_zip(b"src\\main.py", b"1")) == {"src/main.py": b"1"}


def test_utf8_names_that_do_not_say_so_are_understood(opened: Opener) -> None:
    assert opened(raw_zip("日本/ß.py".encode(), b"1")) == {"日本/ß.py": b"1"}
    assert opened(raw_zip(b"caf\x82.py", b"1")) == {"café.py": b"1"}, "the old code page"


ESCAPES = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "..",
    "a/..",
    "a/../b",
    "x\ny",
    "x\x7f",
    "\x1b[31m",
    "n" * 256,
    "a/" * 600 + "b",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_names_that_lead_out_or_are_none_are_refused(opened: Opener, name: str) -> None:
    for data in (
        make_zip({"ok": b"", name: b"x"}),
        make_tar({"ok": b"", name: b"x"}),
        make_tar({name: b"x"}, mode="w:gz"),
    ):
        with pytest.raises(InvalidArchive):
            opened(data)


@pytest.mark.parametrize("name", [b"a\0.py", b"..\\x", b"C:\\..\\x", b"\\x", b"\\\\host\\share\\x", b""])
def test_names_that_zip_alone_can_hold(opened: Opener, name: bytes) -> None:
    with pytest.raises(InvalidArchive):
        opened(raw_zip(name, b"x"))


def test_names_that_are_no_utf8_are_refused_in_tars(opened: Opener) -> None:
    with pytest.raises(InvalidArchive, match="UTF-8"):
        opened(raw_header(b"\xff\xfe.py", b"0", 0) + bytes(1024))


@pytest.mark.parametrize(
    "names", [("a", "a"), ("a", "./a"), ("a/b", "a//b"), ("\u00e9", "e\u0301"), ("a", "a/b"), ("a/b", "a")]
)
def test_a_name_is_there_once(opened: Opener, names: tuple[str, str]) -> None:
    with pytest.raises(InvalidArchive, match=r"twice|folder"):
        opened(tar_of(*((tar_info(name), b"x") for name in names)))


def test_upper_and_lower_case_are_two_names(opened: Opener) -> None:
    assert opened(make_zip({"Makefile": b"1", "makefile": b"2"})) == {"Makefile": b"1", "makefile": b"2"}


SPECIAL = [
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.FIFOTYPE,
    tarfile.GNUTYPE_SPARSE,
    b"V",
    b"Z",
]


@pytest.mark.parametrize("kind", SPECIAL)
def test_tars_with_links_and_devices_are_refused(opened: Opener, kind: bytes) -> None:
    with pytest.raises(InvalidArchive, match="link"):
        opened(tar_of((tar_info("ok"), b"1"), (tar_info("x", kind, linkname="/etc/passwd"), b"")))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_zips_with_links_and_devices_are_refused(opened: Opener, kind: int) -> None:
    with pytest.raises(InvalidArchive, match="link"):
        opened(zip_entry("x", b"/etc/passwd", mode=kind | 0o644))


def test_sparse_files_are_refused(opened: Opener) -> None:
    sparse = tar_info(
        "x",
        pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)},
    )
    with pytest.raises(InvalidArchive, match="sparse"):
        opened(tar_of((sparse, b"x")))


def test_encrypted_and_unusual_zips_are_refused(opened: Opener) -> None:
    with pytest.raises(InvalidArchive, match="encrypted"):
        opened(raw_zip(b"a", b"x", flags=1))
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(InvalidArchive, match="deflate"):
            opened(make_zip({"a": b"x" * 1000}, compression=compression))


# -- too much ------------------------------------------------------------------------------------


def test_bombs_are_stopped_by_what_comes_out(opened: Opener) -> None:
    bomb = bytes(200 * MIB)
    for data in (make_zip({"a": bomb}), gz(make_tar({"a": bomb}))):
        assert len(data) < MIB
        with pytest.raises(PayloadTooLarge):
            opened(data)
    assert sum(path.stat().st_size for path in opened.folder.rglob("*") if path.is_file()) < 70 * MIB


def test_ratios_of_bombs_are_refused_below_the_bound_of_size(opened: Opener) -> None:
    bounds = ArchiveBounds(total_bytes=1024 * MIB, files=10)
    with pytest.raises(PayloadTooLarge, match="200 times"):
        opened(make_zip({"a": bytes(100 * MIB)}), bounds)
    assert len(opened(make_zip({"a": bytes(10 * MIB)}), bounds)["a"]) == 10 * MIB, (
        "small ones may be as dense as they like"
    )


def test_sizes_that_are_stated_are_not_believed(opened: Opener) -> None:
    with pytest.raises((InvalidArchive, PayloadTooLarge)):
        opened(raw_zip(b"a", bytes(100 * MIB), stated=1))
    assert opened(raw_zip(b"a", b"x", stated=1 << 31)) == {"a": b"x"}
    with pytest.raises(InvalidArchive):
        opened(raw_header(b"a", b"0", 1 << 30) + b"x" * 512)
    with pytest.raises(InvalidArchive):
        opened(raw_header(b"a", b"0", -1) + bytes(1024))


def test_many_entries_are_refused(opened: Opener) -> None:
    files = {f"{number}": b"" for number in range(1001)}
    for data in (make_zip(files), make_tar(files), make_tar(files, mode="w:gz")):
        with pytest.raises(PayloadTooLarge, match="1000 files"):
            opened(data)
    folders = b"".join(raw_header(b"d%d" % number, b"5", 0) for number in range(4001)) + bytes(1024)
    with pytest.raises(PayloadTooLarge, match="entries"):
        opened(folders)


def test_entries_that_share_their_bytes_are_counted_each(opened: Opener) -> None:
    data = raw_zip(b"name0000", bytes(MIB), count=900)
    assert len(data) < 100_000
    with pytest.raises(EmberboxError) as caught:
        opened(data)
    assert isinstance(caught.value, InvalidArchive | PayloadTooLarge)


def test_a_huge_table_of_contents_is_not_read(opened: Opener) -> None:
    data = raw_zip(b"name0000" * 20, b"", count=60_000)
    tracemalloc.start()
    try:
        with pytest.raises((InvalidArchive, PayloadTooLarge)):
            opened(data)
        assert tracemalloc.get_traced_memory()[1] < 40 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K"])
def test_attributes_of_tars_are_bounded(opened: Opener, kind: bytes) -> None:
    # Digits without an end are what makes a search for a pattern take quadratic time: of these, hours.
    long = raw_header(b"x", kind, 20 * MIB) + b"1" * (20 * MIB) + bytes(1024)
    with pytest.raises(InvalidArchive):
        opened(long)
    one = raw_header(b"x", kind, 65_536) + b"1" * 65_536
    with pytest.raises((InvalidArchive, PayloadTooLarge)):
        opened(gz(one * 1000 + bytes(1024)))


META = [
    b"",
    b"1",
    b"5 a=\n",
    b"6 a=b\n",
    b"99 a=b\n",
    b"-1 a=b\n",
    b"0 \n",
    b"6 ab\n\n",
    b" a=b\n",
    b"\xb2 a\n",
    b"11 size=-9\n",
]


@pytest.mark.parametrize("meta", [*META, b"12 size=abc\n"])
def test_damaged_attributes_are_refused_or_mean_nothing(opened: Opener, meta: bytes) -> None:
    data = (
        raw_header(b"x", b"x", len(meta))
        + meta.ljust(512 if meta else 0, b"\0")
        + raw_header(b"a", b"0", 0)
        + bytes(1024)
    )
    try:
        assert opened(data) == {"a": b""}
    except InvalidArchive:
        assert meta != b"6 a=b\n"


# -- damage --------------------------------------------------------------------------------------


def test_archives_that_end_early_are_refused(opened: Opener) -> None:
    files = {"a": b"1" * 5000, "b": bytes(range(256)) * 40}
    for make in (make_zip, make_tar, MAKERS["tar.gz"]):
        whole = make(files)
        for length in range(600, len(whole) - 1, 1017):
            if make is make_tar and not any(whole[length : length + 1024]):
                continue
            try:
                found = opened(whole[:length])
            except InvalidArchive:
                continue
            assert make is make_tar, "only a plain tar may lack its end"
            assert all(files[name] == data for name, data in found.items())


def test_a_quine_and_an_archive_in_an_archive_stay_closed(opened: Opener) -> None:
    inner = make_zip({"deep": b"x"})
    assert opened(make_zip({"inner.zip": inner, "main.py": b""})) == {"inner.zip": inner, "main.py": b""}


def test_wrong_sums_are_noticed(opened: Opener) -> None:
    data = bytearray(make_zip({"a": b"hello world" * 100}, compression=zipfile.ZIP_STORED))
    data[100] ^= 1
    with pytest.raises(InvalidArchive, match="damaged"):
        opened(bytes(data))


names = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from([*NAMES, *ESCAPES, "a/b", "a"])


@settings(max_examples=150)
@given(
    files=st.dictionaries(names, st.binary(max_size=600), max_size=6), kind=st.sampled_from(sorted(MAKERS))
)
def test_any_files_come_out_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes], kind: str
) -> None:
    try:
        data = MAKERS[kind](files)
    except (ValueError, IndexError):
        return
    folder = tmp_path_factory.mktemp("any")
    try:
        found = Opener(folder)(data)
    except (InvalidArchive, AssertionError) as error:
        assert isinstance(error, InvalidArchive) or not files
        return
    assert set(found.values()) <= set(files.values())
    for path in found:
        assert not path.startswith("/")
        assert ".." not in path.split("/")
        assert "\0" not in path
    assert all(
        path.parent.parent == folder
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".archive"
    )


@settings(max_examples=150)
@given(
    noise=st.binary(max_size=64),
    kind=st.sampled_from(["zip", "pax", "tar.gz"]),
    where=st.integers(0),
    cut=st.integers(0, 6000),
)
def test_damage_of_any_kind_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, kind: str, where: int, cut: int
) -> None:
    whole = bytearray(MAKERS[kind]({"a/b.py": b"print(1)\n" * 300, "c": bytes(300), "ß": b""}))
    where %= len(whole)
    whole[where : where + len(noise)] = noise
    damaged = bytes(whole[: cut or None])
    folder = tmp_path_factory.mktemp("damaged")
    path, target = folder / "x.archive", folder / "out"
    path.write_bytes(damaged)
    target.mkdir()
    recognised = archive_kind(path)
    if recognised is None:
        return
    try:
        unpack(path, recognised, target, BOUNDS, boundless())
    except (InvalidArchive, PayloadTooLarge):
        return


@settings(max_examples=100)
@given(body=st.binary(max_size=4000), kind=st.sampled_from(["zip", "tar", "tar.gz"]))
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, body: bytes, kind: str) -> None:
    folder = tmp_path_factory.mktemp("noise")
    path, target = folder / "x", folder / "out"
    path.write_bytes(
        {"zip": b"PK\x03\x04", "tar": raw_header(b"a", b"0", 3), "tar.gz": b"\x1f\x8b\x08\0"}[kind] + body
    )
    target.mkdir()
    try:
        unpack(path, kind, target, BOUNDS, boundless())
    except (InvalidArchive, PayloadTooLarge):
        return


def test_a_full_disk_is_not_the_archives_fault(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(
        make_zip({"a": zlib.compress(bytes(range(256)) * 100) * 40_000}, compression=zipfile.ZIP_STORED)
    )
    with small_disk(tmp_path / "disk", mib=1) as disk, pytest.raises(OSError, match="No space"):
        unpack(path, "zip", disk, BOUNDS, boundless())


def test_memory_stays_bounded(opened: Opener) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a", bytes(30 * MIB))
    packed = data.getvalue()
    tracemalloc.start()
    try:
        path, target = opened.folder / "big", opened.folder / "big.out"
        path.write_bytes(packed)
        target.mkdir()
        unpack(path, "zip", target, BOUNDS, boundless())
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()

"""Tar archives as programs write them, and archives that were made to do harm."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emberbox.files.tar_fields import BadTar, NoTar
from emberbox.files.tars import HEADER_BYTES, TarEntry, TarReader, is_tar
from emberbox.model import MIB
from tests.unit.files.tar_builders import make_tar, raw_header, tar_info, tar_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

END = bytes(1024)
FORMATS = {"pax": tarfile.PAX_FORMAT, "gnu": tarfile.GNU_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def entries(data: bytes, **options: Any) -> list[TarEntry]:
    return list(TarReader(io.BytesIO(data), **options))


def contents(data: bytes) -> dict[str, bytes]:
    reader = TarReader(io.BytesIO(data))
    return {entry.name: b"".join(reader.pieces()) for entry in reader}


def pax(name: str, value: str) -> bytes:
    """One attribute as a pax header has it."""
    body = f" {name}={value}\n".encode()
    length = len(body)
    while len(str(length)) + len(body) > length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def described(kind: bytes, data: bytes) -> bytes:
    """A header that describes the next entry, and what lies behind it."""
    return raw_header(b"meta", kind, len(data)) + data + bytes(-len(data) % 512)


class Pipe:
    """An archive that can only be read in its order, and in small pieces."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, 700))

    def seek(self, offset: int, whence: int, /) -> int:
        raise AssertionError("it cannot")

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("form", FORMATS.values(), ids=list(FORMATS))
def test_what_is_told_is_what_was_written(form: int) -> None:
    data = tar_of(
        (tar_info("./", tarfile.DIRTYPE, mode=0o1777), b""),
        (tar_info("a/file", mode=0o4711, uid=5, gid=6, mtime=1_600_000_000), b"content"),
        (tar_info("empty"), b""),
        (tar_info("x" * 90 + "/" + "y" * 90), b"long"),
        (tar_info("link", tarfile.SYMTYPE, linkname="../" + "t" * 90), b""),
        (tar_info("hard", tarfile.LNKTYPE, linkname="a/file"), b""),
        (tar_info("pipe", tarfile.FIFOTYPE), b""),
        (tar_info("null", tarfile.CHRTYPE), b""),
        (tar_info("last"), b"z" * 512),
        form=form,
    )
    found = {entry.name: entry for entry in entries(data)}
    assert [entry.kind for entry in found.values()] == [
        *("folder", "file", "file", "file", "link", "hard link", "other", "other", "file"),
    ]
    file = found["a/file"]
    assert (file.mode, file.uid, file.gid, file.time_s, file.size) == (0o4711, 5, 6, 1_600_000_000, 7)
    assert (found["link"].target, found["hard"].target) == ("../" + "t" * 90, "a/file")
    expected = {"a/file": b"content", "x" * 90 + "/" + "y" * 90: b"long", "last": b"z" * 512}
    for name, content in expected.items():
        entry = found[name]
        assert data[entry.offset : entry.offset + entry.size] == content
        assert entry.parts is None


@pytest.mark.parametrize("form", ["pax", "gnu"])
def test_names_of_any_length_and_bytes(form: str) -> None:
    names = ["n" * 300, "ß/größe", "日本語", "👩‍🚀", "\udcff\udcfe", "e\u0301"]
    links = [(tar_info(name, tarfile.SYMTYPE, linkname=name[::-1]), b"") for name in names]
    data = tar_of(*links, form=FORMATS[form])
    assert [(entry.name, entry.target) for entry in entries(data)] == [(name, name[::-1]) for name in names]


def test_attributes_stand_for_what_a_header_cannot_hold() -> None:
    info = tar_info("x", uid=2**40, gid=2**41, mtime=1_600_000_000.25)
    (entry,) = entries(tar_of((info, b"1")))
    assert (entry.uid, entry.gid, entry.time_s) == (2**40, 2**41, 1_600_000_000.25)
    (entry,) = entries(tar_of((info, b"1"), form=tarfile.GNU_FORMAT))
    assert (entry.uid, entry.gid, entry.time_s) == (2**40, 2**41, 1_600_000_000)


def test_attributes_of_the_whole_archive_change_no_entry() -> None:
    data = described(b"g", pax("path", "everywhere") + pax("size", "9")) + make_tar({"a": b"1", "b": b"2"})
    assert contents(data) == {"a": b"1", "b": b"2"}


@pytest.mark.parametrize("make", [io.BytesIO, Pipe], ids=["leaps", "reads"])
def test_what_is_not_asked_for_is_passed_over(make: Callable[[bytes], Any]) -> None:
    data = make_tar({"a": b"1" * 700_000, "b": b"2" * 1025, "c": b"3" * 100})
    assert [entry.name for entry in TarReader(make(data))] == ["a", "b", "c"]
    reader = TarReader(make(data))
    found = []
    for entry in reader:
        pieces = reader.pieces()
        assert next(pieces)
        if entry.name == "b":
            found = [entry.name, *(len(piece) for piece in pieces)]
    assert found[0] == "b"
    reader = TarReader(make(data))
    assert [b"".join(reader.pieces()) for _ in reader][1:] == [b"2" * 1025, b"3" * 100]
    assert list(reader.pieces()) == []


def test_pieces_are_small() -> None:
    reader = TarReader(io.BytesIO(make_tar({"a": bytes(MIB)})))
    assert [len(piece) for _ in reader for piece in reader.pieces()] == [256 * 1024] * 4


def test_archives_of_the_usual_program(tmp_path: Path) -> None:
    folder = tmp_path / "project"
    files = {"main.py": b"1", "lib/" + "x" * 95 + "/ß.py": b"2" * 5000, "日本/empty": b""}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    for form in ("v7", "oldgnu", "gnu", "pax", "posix", "ustar"):
        chosen = "main.py" if form == "v7" else "."
        command = ["tar", f"--format={form}", "-cf", str(tmp_path / "made"), "-C", str(folder), chosen]
        subprocess.run(command, check=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})
        found = contents((tmp_path / "made").read_bytes())
        want = {f"./{name}": content for name, content in files.items()}
        assert found.items() >= ({"main.py": b"1"} if form == "v7" else want).items()


SPARSE = ["--format=gnu", *(f"--format=pax --sparse-version={version}" for version in ("0.0", "0.1", "1.0"))]


@pytest.mark.parametrize("options", SPARSE)
@pytest.mark.parametrize("count", [1, 3, 60])
def test_sparse_files_of_the_usual_program(tmp_path: Path, options: str, count: int) -> None:
    with (tmp_path / "holes").open("wb") as file:
        for number in range(count):
            file.seek(number * 65_536 + 8192)
            file.write(bytes([number + 1]) * 4096)
        file.truncate(count * 65_536 + 20_000)
    whole = (tmp_path / "holes").read_bytes()
    (tmp_path / "after").write_bytes(b"after")
    command = ["tar", *options.split(), "--sparse", "-cf", str(tmp_path / "made"), "-C", str(tmp_path)]
    subprocess.run([*command, "holes", "after"], check=True)
    data = (tmp_path / "made").read_bytes()
    holes, after = entries(data)
    if holes.parts is None:
        pytest.skip("this file system keeps no holes")
    assert (holes.name, holes.kind, holes.size) == ("holes", "file", len(whole))
    written, at = bytearray(holes.size), holes.offset
    for offset, length in holes.parts:
        written[offset : offset + length] = data[at : at + length]
        at += length
    assert bytes(written) == whole
    assert (after.name, data[after.offset :][:5]) == ("after", b"after")


def sparse(size: str, pairs: str, data: bytes = b"abcde", **more: str) -> bytes:
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1"}
    headers |= {"GNU.sparse.size": size, "GNU.sparse.map": pairs}
    return tar_of((tar_info("holes", pax_headers={**headers, **more}), data))


def test_a_sparse_file_may_be_all_hole_or_none() -> None:
    assert [(entry.size, entry.parts) for entry in entries(sparse("10", "10,0"))] == [(10, ())]
    assert [(entry.size, entry.parts) for entry in entries(sparse("5", "0,2,2,3"))] == [(5, ((0, 2), (2, 3)))]
    assert [entry.size for entry in entries(sparse("10", ""))] == [10]


@pytest.mark.parametrize(
    ("size", "pairs"),
    [
        *(("100", pairs) for pairs in ("98,3", "-5,3", "5,-3", "5,-10", "1000,1", "0,2,1,2", "9,1,0,1")),
        *(("100", pairs) for pairs in ("0,1,2", "1", "a,b", "0,6", "0,1,", ",")),
        *((size, "0,1") for size in ("", "-1", "x", "0", str(2**61), "9" * 21)),
    ],
)
def test_maps_of_holes_that_lead_out(size: str, pairs: str) -> None:
    with pytest.raises(BadTar):
        entries(sparse(size, pairs))


@pytest.mark.parametrize("text", [b"", b"1\n", b"-1\n", b"1\n0\n", b"x\n", b"9999\n" + b"1\n" * 200])
def test_maps_before_the_content_that_are_none(text: bytes) -> None:
    more = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"}
    data = tar_of((tar_info("x", pax_headers=more), text.ljust(512, b"\0") if len(text) < 300 else text))
    with pytest.raises(BadTar):
        entries(data)


def test_a_map_in_blocks_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    header = bytearray(raw_header(b"x", b"S", 0))
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    more = bytearray(512)
    more[504] = 1
    with pytest.raises(BadTar, match="too long"):
        entries(bytes(header) + bytes(more) * 1000)
    with pytest.raises(BadTar, match="incomplete"):
        entries(bytes(header) + bytes(more) * 3)


# -- damage and bombs
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"x", b"no tar" * 99, bytes(511) + b"x", gzip.compress(bytes(2000))])
def test_what_is_no_archive(data: bytes) -> None:
    with pytest.raises(BadTar) as caught:
        entries(data)
    assert isinstance(caught.value, NoTar) or len(data) < 512


def test_an_archive_of_nothing() -> None:
    assert entries(END) == []


def test_what_is_no_entry_is_no_end() -> None:
    with pytest.raises(BadTar, match="no entry"):
        entries(make_tar({"a": b"1"})[:1024] + b"rubbish!" * 128)


def test_archives_that_end_early() -> None:
    data = make_tar({"a": b"1" * 1000, "n" * 200: b"2" * 3000})
    for length in range(1, len(data.rstrip(b"\0"))):
        if length == 1536:
            continue  # behind an entry: nothing says that there was another
        with pytest.raises(BadTar):
            contents(data[:length])
        with pytest.raises(BadTar):
            entries(data[:length])


@pytest.mark.parametrize("size", [-1, 2**33 - 1])
def test_sizes_that_are_stated_are_not_believed(size: int) -> None:
    for data in (raw_header(b"a", b"0", size) + b"x" * 512, raw_header(b"a", b"Z", size) + b"x" * 512):
        with pytest.raises(BadTar):
            entries(data)
        with pytest.raises(BadTar):
            contents(data)


def test_a_vast_size_ends_at_the_archives_end(tmp_path: Path) -> None:
    data = described(b"x", pax("size", str(2**60))) + raw_header(b"a", b"0", 0) + bytes(2048)
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as stream, pytest.raises(BadTar, match="incomplete"):
        list(TarReader(stream))
    for size in (2**60 + 1, 10**20, 10**40):
        with pytest.raises(BadTar):
            entries(described(b"x", pax("size", str(size))) + raw_header(b"a", b"0", 0) + END)


def test_leaps_are_as_long_as_files(tmp_path: Path) -> None:
    size = 5 * 1024**3 // 2
    with (tmp_path / "file").open("wb") as stream:
        stream.write(raw_header(b"large", b"0", size))
        stream.seek(size, os.SEEK_CUR)
        stream.write(make_tar({"after": b"x"}))
    with (tmp_path / "file").open("rb") as stream:
        large, after = TarReader(stream)
    assert (large.size, after.name, after.offset) == (size, "after", size + 1024)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K", b"X"])
def test_attributes_are_bounded(kind: bytes) -> None:
    # Digits without an end are what makes a search for a pattern take quadratic time: of these, hours.
    long = described(kind, b"1" * (20 * MIB)) + END
    tracemalloc.start()
    try:
        stream = io.BytesIO(long)
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(BadTar, match="too long"):
            list(TarReader(stream))
        assert tracemalloc.get_traced_memory()[1] - before < MIB
    finally:
        tracemalloc.stop()
    with pytest.raises(BadTar, match=r"too long|damaged"):
        entries(described(kind, b"1" * (HEADER_BYTES - 1024)) * 2 + END)


def test_the_bound_is_its_readers() -> None:
    data = tar_of((tar_info("a", pax_headers={"comment": "x" * 100_000}), b"1"))
    with pytest.raises(BadTar, match="too long"):
        entries(data)
    assert [entry.name for entry in entries(data, header_bytes=MIB)] == ["a"]


def test_headers_without_an_entry_have_an_end() -> None:
    for kind in (b"g", b"x", b"L"):
        with pytest.raises(BadTar):
            entries(described(kind, b"") * 10_000 + END)
    with pytest.raises(BadTar, match="attributes of no entry"):
        entries(described(b"x", pax("path", "x")) + END)
    assert entries(described(b"g", pax("comment", "x")) + END) == []


META = [b"1", b"5 a=\n\n", b"99 a=b\n", b"-1 a=b\n", b"0 \n", b"6 ab\n\n", b" a=b\n", b"\xb2 a\n", b"6 a=bc"]
META += [b"00000006 a=b\n"]


@pytest.mark.parametrize("meta", META)
def test_damaged_attributes_are_refused(meta: bytes) -> None:
    with pytest.raises(BadTar, match="damaged attributes"):
        entries(described(b"x", meta) + raw_header(b"a", b"0", 0) + END)


@pytest.mark.parametrize("name", ["size", "uid", "gid", "mtime"])
@pytest.mark.parametrize("value", ["", "x", "1x", " 1", "1_0", "+1", "\u0661", "nan", "inf", "9" * 5000])
def test_numbers_that_are_none(name: str, value: str) -> None:
    with pytest.raises(BadTar):
        entries(described(b"x", pax(name, value)) + raw_header(b"a", b"0", 0) + END)


@pytest.mark.parametrize("name", ["path", "linkpath"])
def test_no_name_holds_a_nul(name: str) -> None:
    with pytest.raises(BadTar, match="NUL"):
        entries(described(b"x", pax(name, "a\0b")) + raw_header(b"a", b"0", 0) + END)
    (entry,) = entries(described(b"L", b"a\0") + raw_header(b"x", b"0", 0) + END)
    assert entry.name == "a"


def test_what_comes_out_is_counted_before_it_does() -> None:
    counted: list[int] = []
    data = make_tar({"n" * 200: b"1" * 1000, "b": b"2" * 300_000, "c": b""})
    reader = TarReader(io.BytesIO(data), count=counted.append)
    for entry in reader:
        if entry.name != "b":
            assert sum(map(len, reader.pieces())) == entry.size
    assert sum(counted) - 301_000 in range(200, 300)

    def refuse(size: int) -> None:
        raise OverflowError(size)

    bomb = gzip.compress(make_tar({"a": bytes(100 * MIB)}))
    with gzip.open(io.BytesIO(bomb)) as stream, pytest.raises(OverflowError):
        list(TarReader(stream, count=refuse))


def test_what_is_packed_and_damaged_is_told_alike() -> None:
    packed = gzip.compress(make_tar({"a": os.urandom(5000), "b": os.urandom(600_000)}))
    for damaged in (
        packed[:-1],
        packed[:3000],
        b"x" + packed,
        packed[:100] + b"\xff" * 40 + packed[140:],
        packed + b"x" * 20,
        packed[:-8] + bytes(8),
    ):
        for read in (lambda reader: reader.pieces(), lambda _reader: ()):
            with gzip.open(io.BytesIO(damaged)) as stream, pytest.raises(BadTar):
                reader = TarReader(stream)
                for _ in reader:
                    for _ in read(reader):
                        pass


def test_a_disk_that_fails_is_no_damage() -> None:
    class Failing(Pipe):
        def read(self, size: int, /) -> bytes:
            raise OSError(5, "the disk failed")

    with pytest.raises(OSError, match="the disk failed"):
        list(TarReader(Failing(b"")))


def test_whether_it_is_one_its_head_says() -> None:
    assert is_tar(make_tar({"a": b""})[:512])
    assert is_tar(make_tar({"a": b""}, form=tarfile.GNU_FORMAT))
    for data in (b"", b"x" * 257 + b"ustar" + b"x" * 400, make_tar({"a": b""})[:511], END):
        assert not is_tar(data)


names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=150).filter(
    lambda name: name.rstrip("/") == name
)


@settings(max_examples=100)
@given(st.dictionaries(names, st.binary(max_size=1500), max_size=5), st.sampled_from(["pax", "gnu"]))
def test_any_files_come_out_as_they_went_in(files: dict[str, bytes], form: str) -> None:
    data = make_tar(files, form=FORMATS[form])
    assert contents(data) == files
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert [member.offset_data for member in archive] == [entry.offset for entry in entries(data)]


def any_archives() -> Iterator[bytes]:
    yield make_tar({"a/b.py": b"print(1)\n" * 300, "c": bytes(300), "ß" * 100: b""})
    yield make_tar({"n" * 300: b"1", "b": b"2" * 700}, form=tarfile.GNU_FORMAT)
    yield sparse("100", "10,3,50,2")


@settings(max_examples=300)
@given(st.sampled_from(list(any_archives())), st.binary(max_size=64), st.integers(0), st.integers(0, 6000))
def test_damage_of_any_kind_is_told_as_such(whole: bytes, noise: bytes, where: int, cut: int) -> None:
    damaged = bytearray(whole)
    where %= len(damaged)
    damaged[where : where + len(noise)] = noise
    try:
        contents(bytes(damaged[: cut or None]))
    except BadTar:
        return


@settings(max_examples=200)
@given(
    kind=st.sampled_from([b"0", b"S", b"x", b"g", b"L", b"K", b"5", b"Z", b"1"]),
    size=st.integers(-1, 3000),
    body=st.binary(max_size=3000),
    field=st.binary(min_size=97, max_size=109),
)
def test_any_headers_are_told_or_refused(kind: bytes, size: int, body: bytes, field: bytes) -> None:
    header = bytearray(raw_header(b"a", kind, size))
    header[386 : 386 + len(field)] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    try:
        for entry in entries(bytes(header) + body):
            assert entry.parts is None or sum(length for _, length in entry.parts) <= max(size, 0)
    except BadTar:
        return

"""Layers as they are meant, and layers made to do harm: each is applied to a folder."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import ImageBuildFailed, ImageImportFailed
from emberbox.images.oci import bounds
from emberbox.images.oci.apply import LayerReader
from emberbox.images.oci.base_files import add_base_files
from emberbox.images.oci.layer import Budget, unpack_layer
from emberbox.images.oci.manifest import Blob
from emberbox.images.oci.tree import Tree
from emberbox.images.oci.write import LayerContents, write_tree
from emberbox.images.rootfs.ext4 import Owner
from tests.oci.layouts import digest, entry, layer, link

if TYPE_CHECKING:
    from pathlib import Path

RUNNING = threading.Event()


def apply(*layers: bytes, budget: Budget | None = None) -> Tree:
    tree = Tree()
    for number, data in enumerate(layers):
        LayerReader(tree, number, budget or Budget()).read(io.BytesIO(data), RUNNING)
    return tree


def write(folder: Path, *layers: bytes) -> dict[str, Owner]:
    return write_tree(apply(*layers), folder, LayerContents([io.BytesIO(data) for data in layers]), RUNNING)


def names(tree: Tree) -> list[str]:
    return [name for name, _ in tree.walk()]


def test_files_links_modes_owners_and_times_are_kept(tmp_path: Path) -> None:
    data = layer(
        entry("./"),
        entry("./etc", mode=0o750, uid=3, gid=4),
        entry("etc/secret", b"x" * 3_000_000, mode=0o4640, uid=5, gid=6, mtime=1_000),
        entry("bin/empty", b"", mode=0),
        link("bin/sh", "../etc/secret"),
        link("bin/out", "/etc/../../../etc/passwd"),
        link("again", "/etc/secret", hard=True),
    )
    owners = write(root := tmp_path / "root", data)
    secret = root / "etc/secret"
    assert secret.read_bytes() == b"x" * 3_000_000
    assert stat.S_IMODE(secret.stat().st_mode) == 0o640, "the bit to act as another user goes"
    assert (secret.stat().st_mtime, secret.stat().st_ino) == (1_000, (root / "again").stat().st_ino)
    assert stat.S_IMODE((root / "etc").stat().st_mode) == 0o750
    assert (root / "bin/empty").read_bytes() == b""
    assert str((root / "bin/sh").readlink()) == "../etc/secret"
    assert str((root / "bin/out").readlink()) == "/etc/../../../etc/passwd"
    assert owners == {"etc": Owner(3, 4), "etc/secret": Owner(5, 6), "again": Owner(5, 6)}


def test_whiteouts_remove_what_lower_layers_have_and_nothing_of_their_own() -> None:
    below = layer(
        entry("a/one", b"1"),
        entry("a/two", b"2"),
        entry("b/deep/x", b"x"),
        entry("c", b"c"),
        entry("d/old", b""),
    )
    above = layer(
        entry("a/.wh.one", b""),
        entry("b/.wh.deep", b""),
        entry("new", b"n"),
        entry(".wh.new", b""),
        entry(".wh.missing", b""),
        entry("d/.wh..wh..opq", b""),
        entry("d/young", b"y"),
        entry(".wh..wh.plnk/9.9", b""),
    )
    assert names(apply(below, above)) == ["a", "a/two", "b", "c", "d", "d/young", "new"]


def test_an_opaque_folder_hides_what_is_deep_in_lower_ones_whatever_the_order() -> None:
    below = layer(entry("d/s/old", b""), entry("d/s/kept", b"below"), entry("d/t/u/v", b""))
    above = layer(
        entry("d/s/kept", b"above"),
        entry("d/s"),
        entry("d"),
        entry("d/.wh..wh..opq", b""),
        entry("d/.wh..wh..opq", b""),
    )
    assert names(apply(below, above)) == ["d", "d/s", "d/s/kept"]


def test_a_file_in_place_of_a_folder_and_back(tmp_path: Path) -> None:
    one = layer(entry("x/inner", b"1"), entry("y", b"file"), entry("twice", b"a"), entry("twice", b"b"))
    two = layer(entry("x", b"now a file"), entry("y"), entry("y/inner", b"2"))
    write(root := tmp_path / "root", one, two)
    assert (root / "x").read_bytes() == b"now a file"
    assert (root / "y/inner").read_bytes() == b"2"
    assert (root / "twice").read_bytes() == b"b"


def test_hard_links_reach_into_lower_layers(tmp_path: Path) -> None:
    write(
        root := tmp_path / "root",
        layer(entry("a", b"content")),
        layer(link("b", "a", hard=True), entry(".wh.a", b"")),
    )
    assert (root / "b").read_bytes() == b"content"
    assert not (root / "a").exists()


def test_an_entry_below_a_link_lies_where_the_link_leads_within_the_image(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    one = layer(
        entry("usr/bin"),
        link("bin", "usr/bin"),
        link("evil", str(outside)),
        link("up", "../../../../.."),
        link("loop", "loop"),
    )
    two = layer(entry("bin/tool", b"t"), entry("evil/stolen", b"s"), entry("up/top", b"u"))
    write(root := tmp_path / "root", one, two)
    assert (root / "usr/bin/tool").read_bytes() == b"t"
    assert (root / str(outside).lstrip("/") / "stolen").read_bytes() == b"s", (
        "the link's target is a path of the image"
    )
    assert (root / "top").read_bytes() == b"u"
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "top").exists()


def test_links_that_lead_in_a_circle_hold_nothing() -> None:
    with pytest.raises(ImageImportFailed, match="below what is no folder"):
        apply(layer(link("loop", "loop"), entry("loop/x", b"")))


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/../x",
        "a\nb",
        "a\x7f",
        "n" * 256,
        "/".join("d" * 200),
        "/".join(["n" * 250] * 13),
    ],
)
def test_names_that_no_file_may_have(name: str) -> None:
    with pytest.raises(ImageImportFailed, match=r"leads out|control characters|too long"):
        apply(layer(entry(name, b"x")))


def test_an_absolute_name_is_one_of_the_image(tmp_path: Path) -> None:
    write(root := tmp_path / "root", layer(entry("/etc/hostname", b"theirs")))
    assert (root / "etc/hostname").read_bytes() == b"theirs"


def test_devices_pipes_and_sockets_are_left_out() -> None:
    tree = Tree()
    reader = LayerReader(tree, 0, Budget())
    kinds = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)
    reader.read(
        io.BytesIO(layer(*(entry(f"dev/{kind!r}", kind=kind) for kind in kinds), entry("f", b""))), RUNNING
    )
    assert (names(tree), reader.dropped) == (["f"], 3)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (layer(link("a", "nowhere", hard=True)), "hard link"),
        (layer(entry("d"), link("a", "d", hard=True)), "hard link"),
        (layer(entry("f", b""), entry("f/x", b"")), "no folder"),
        (layer(entry(".wh...", b"")), "removes no file"),
        (layer(entry("a", b"x" * 2000))[:1024], "no tar archive|ends within|broken"),
        (b"not a tar" * 100, "no tar archive"),
        (layer(entry("a", b""))[:512] + b"rubbish!" * 128, "no entry"),
        (layer(entry("a", b"", pax_headers={"comment": "x" * (bounds.HEADER_BYTES + 1)})), "broken"),
        (layer(entry("a", b"", uid=2**40)), "no possible user"),
    ],
)
def test_broken_layers_are_told(tmp_path: Path, broken: bytes, message: str) -> None:
    with pytest.raises(ImageImportFailed, match=message):
        write(tmp_path / "root", broken)


def test_an_empty_layer_holds_nothing() -> None:
    assert names(apply(b"\0" * 1024, b"")) == []


def sparse(size: int, pieces: str, data: bytes) -> bytes:
    """Return a layer with a sparse file in the format that GNU tar writes (version 0.1)."""
    headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(size),
        "GNU.sparse.map": pieces,
    }
    return layer(entry("holes", data, pax_headers=headers))


def test_sparse_files_get_their_holes_and_not_more(tmp_path: Path) -> None:
    write(root := tmp_path / "root", sparse(100, "10,3,50,2", b"abcde"))
    assert (root / "holes").read_bytes() == b"\0" * 10 + b"abc" + b"\0" * 37 + b"de" + b"\0" * 48
    for number, pieces in enumerate(("90,20", "-5,3", "1000,1")):
        with pytest.raises(ImageImportFailed, match=r"beyond its end|broken"):
            write(tmp_path / f"bad{number}", sparse(100, pieces, b"x" * 20))
    with pytest.raises(ImageImportFailed, match="larger than"):
        apply(sparse(2**45, "0,1", b"x"))


def test_a_map_of_holes_without_an_end_does_not_hang() -> None:
    headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "x",
        "GNU.sparse.realsize": "9",
    }
    with pytest.raises(ImageImportFailed, match="broken"):
        apply(layer(entry("x", b"99999999\n" + b"1\n" * 200, pax_headers=headers)))


def test_entries_and_bytes_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(ImageImportFailed, match="more than 3 files"):
        apply(layer(*(entry(f"f{number}", b"") for number in range(4))), budget=Budget(entries=3))
    bomb = gzip.compress(b"\0" * 10_000_000)
    (tmp_path / "packed").write_bytes(bomb)
    with pytest.raises(ImageImportFailed, match="larger than 1 MiB"):
        unpack(tmp_path, bomb, digest(b"\0" * 10_000_000), Budget(size=1024**2))
    assert (tmp_path / "plain").stat().st_size <= 1024**2


def unpack(folder: Path, packed: bytes, unpacked: str, budget: Budget | None = None) -> bytes:
    (folder / "packed").write_bytes(packed)
    (folder / "plain").unlink(missing_ok=True)
    blob = Blob(digest(packed), len(packed), "")
    unpack_layer(blob, folder / "packed", folder / "plain", unpacked, budget or Budget(), RUNNING)
    return (folder / "plain").read_bytes()


@pytest.mark.parametrize("packing", ["plain", "gzip", "zstd"])
def test_layers_are_unpacked_by_what_they_are(tmp_path: Path, packing: str) -> None:
    data = layer(entry("a", b"content" * 1000))
    (tmp_path / "data").write_bytes(data)
    packed = data if packing == "plain" else gzip.compress(data)
    if packing == "zstd":
        zstd = shutil.which("zstd")
        assert zstd is not None, "sudo apt-get install zstd"
        assert os.system(f"{zstd} -q {tmp_path}/data") == 0  # noqa: S605
        packed = (tmp_path / "data.zst").read_bytes()
    assert unpack(tmp_path, packed, digest(data)) == data
    with pytest.raises(ImageImportFailed, match="corrupt"):
        unpack(tmp_path, packed, digest(b"other"))
    if packing != "plain":
        with pytest.raises(ImageImportFailed, match="corrupt"):
            unpack(tmp_path, packed[:-9], digest(data))


def test_a_layer_that_is_not_what_its_digest_says(tmp_path: Path) -> None:
    (tmp_path / "packed").write_bytes(b"other")
    with pytest.raises(ImageImportFailed, match="not what its digest says"):
        unpack_layer(
            Blob(digest(b"x"), 1, ""),
            tmp_path / "packed",
            tmp_path / "plain",
            digest(b"x"),
            Budget(),
            RUNNING,
        )


def test_a_cancelled_import_ends_early() -> None:
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(ImageBuildFailed, match="cancelled"):
        LayerReader(Tree(), 0, Budget()).read(io.BytesIO(layer(entry("a", b""))), stopped)


def test_what_a_guest_needs_is_made_in_place_of_what_would_lead_elsewhere(tmp_path: Path) -> None:
    data = layer(
        link("tmp", "var/tmp"),
        entry("proc/1/x", b""),
        link("work", "/etc"),
        entry("etc/hosts", b"theirs"),
        link("srv", "/x"),
    )
    tree = apply(data)
    add_base_files(tree, "7:8", "/srv/app")
    write_tree(tree, root := tmp_path / "root", LayerContents([io.BytesIO(data)]), RUNNING)
    assert all(
        (root / name).is_dir() and not (root / name).is_symlink()
        for name in ("tmp", "work", "proc", "dev", "mnt/script")
    )
    assert not (root / "proc/1").exists()
    assert (root / "etc/emberbox/user").read_text() == "7:8\n"
    assert "sandbox" in (root / "etc/hosts").read_text()
    assert (root / "x/app").is_dir(), "the working folder is made where the image says"


def test_many_whiteouts_of_one_folder_take_no_longer_than_one() -> None:
    below = layer(*(entry(f"d/{number}", b"") for number in range(2000)))
    above = layer(
        *(entry(f"d/n{number}", b"") for number in range(2000)),
        *(entry("d/.wh..wh..opq", b"") for _ in range(20_000)),
    )
    assert len(names(apply(below, above))) == 2001

"""What is installed, which releases there are, and how hashes are read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import InvalidInput, RequirementMissing
from emberbox.vmm.firecracker.install.release import (
    RELEASES,
    Installed,
    find_release,
    installed,
    parse_version,
)
from emberbox.vmm.firecracker.install.sources import read_hash

if TYPE_CHECKING:
    from pathlib import Path

HASH = "ab" * 32
OTHER = "cd" * 32


def put(
    folder: Path, version: str, *, mode: int = 0o755, names: tuple[str, ...] = ("firecracker", "jailer")
) -> None:
    (folder / version).mkdir(parents=True)
    for name in names:
        (folder / version / name).touch()
        (folder / version / name).chmod(mode)


def test_the_newest_counts_by_number(tmp_path: Path) -> None:
    assert installed(tmp_path / "none") is None
    assert installed(tmp_path) is None
    for version in ("1.9.9", "1.16.1", "1.16.10", "1.16.2"):
        put(tmp_path, version)
    assert installed(tmp_path) == Installed(
        "1.16.10", tmp_path / "1.16.10/firecracker", tmp_path / "1.16.10/jailer"
    )


@pytest.mark.parametrize("name", [".new-0123", "v1.99.0", "1.99", "latest", "1.99.0 ", "1.99.0.1"])
def test_what_is_no_version_does_not_count(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert installed(tmp_path) is None


def test_what_is_not_whole_does_not_count(tmp_path: Path) -> None:
    put(tmp_path, "1.16.1")
    put(tmp_path, "1.17.0", names=("firecracker",))
    put(tmp_path, "1.18.0", mode=0o644)
    put(tmp_path, "1.19.0", mode=0o775)
    put(tmp_path, "1.20.0", names=("jailer",))
    (tmp_path / "1.20.0/firecracker").symlink_to("/bin/true")
    (tmp_path / "1.21.0").symlink_to(tmp_path / "nowhere")
    found = installed(tmp_path)
    assert found is not None
    assert found.version == "1.16.1"


@pytest.mark.skipif(os.geteuid() != 0, reason="giving files away takes root")
def test_what_belongs_to_others_does_not_count(tmp_path: Path) -> None:
    put(tmp_path, "1.16.1")
    os.chown(tmp_path / "1.16.1/jailer", 12345, 12345)
    assert installed(tmp_path) is None


@pytest.mark.parametrize("text", ["1.16.1", "v1.16.1", "1.17.0", "2.0.0"])
def test_releases(text: str) -> None:
    release = find_release(text, "aarch64")
    version = text.removeprefix("v")
    assert release.url() == f"{RELEASES}/v{version}/firecracker-v{version}-aarch64.tgz"
    assert release.url("http://mirror/") == f"http://mirror/v{version}/firecracker-v{version}-aarch64.tgz"
    assert release.member("jailer") == f"release-v{version}-aarch64/jailer-v{version}-aarch64"


@pytest.mark.parametrize(
    "text", ["", "latest", "1.16", "1.16.1-rc1", "../1.16.1", "1.16.1/..", "1.16.0", "1.9.99", "0.99.99"]
)
def test_what_is_no_usable_release(text: str) -> None:
    with pytest.raises(InvalidInput):
        find_release(text, "x86_64")


def test_other_machines_have_none() -> None:
    with pytest.raises(RequirementMissing, match="riscv64"):
        find_release("1.16.1", "riscv64")


def test_versions_are_numbers() -> None:
    assert parse_version("1.16.10") == (1, 16, 10)
    assert parse_version("1.16.1\n") is None
    assert parse_version("1.16.\u0661") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HASH}  it.tgz\n", HASH),
        (f"{HASH} *it.tgz\n", HASH),
        (HASH.upper(), HASH),
        (f"{HASH}  path/to/it.tgz\r\n", HASH),
        (f"{OTHER}  other.tgz\n{HASH}  it.tgz\n", HASH),
        (f"{HASH}  renamed.tgz\n", HASH),
        (f"{OTHER}  other.tgz\n{HASH}  more.tgz\n", None),
        ("", None),
        ("<html></html>", None),
        (HASH[:-1], None),
        (f"{HASH}0  it.tgz", None),
    ],
)
def test_hashes(text: str, expected: str | None) -> None:
    assert read_hash(text, "it.tgz") == expected

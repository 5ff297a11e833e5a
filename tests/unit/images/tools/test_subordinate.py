"""The numbers of further users for an unprivileged build, and all that is missing asked at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import RequirementMissing
from emberbox.images.tools import requirements, subordinate
from emberbox.images.tools.requirements import (
    REQUIREMENTS,
    UIDMAP,
    BuildNeeds,
    build_needs,
    check_requirements,
)

if TYPE_CHECKING:
    from pathlib import Path

LZ4 = next(requirement for requirement in REQUIREMENTS if requirement.program == "lz4")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Stand-ins for /etc/subuid and /etc/subgid, of a host on which we are alice."""
    monkeypatch.setattr(subordinate, "user_name", lambda: "alice")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return tmp_path / "subuid", tmp_path / "subgid"


@pytest.mark.parametrize(
    "text", ["", "alice:100000:10\n", "bob:100000:65536\n", "nonsense\nalice:x:65536\n", None]
)
def test_too_few_numbers(files: tuple[Path, Path], text: str | None) -> None:
    if text is not None:
        files[0].write_text(text)
    files[1].write_text("1000:165536:65536\n")
    assert subordinate.files_without_range(*files) == (files[0],)


def test_enough_numbers(files: tuple[Path, Path]) -> None:
    for file in files:
        file.write_text("bob:100000:65536\nalice:165536:65536\n")
    assert subordinate.files_without_range(*files) == ()


@pytest.mark.parametrize(
    ("taken", "first"),
    [
        ("", 100_000),
        ("bob:100000:65536\neve:165536:65536", 231_072),
        ("bob:600000:130000", 890_000),
        ("bob:790000:5", 890_000),
        ("bob:890000:65536", 955_536),
    ],
)
def test_a_range_that_nobody_has(files: tuple[Path, Path], taken: str, first: int) -> None:
    files[1].write_text(taken)
    both = subordinate.grant_command(files, taken=files)
    assert (
        both == f"usermod --add-subuids {first}-{first + 65535} --add-subgids {first}-{first + 65535} alice"
    )
    one = subordinate.grant_command(files[1:], taken=files)
    assert one == f"usermod --add-subgids {first}-{first + 65535} alice"


def test_a_user_without_an_account_cannot_be_given_any(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subordinate, "user_name", lambda: "54321")
    assert subordinate.grant_command(files, taken=files) is None


def test_all_in_one_line(monkeypatch: pytest.MonkeyPatch, files: tuple[Path, Path]) -> None:
    monkeypatch.setattr(requirements, "grant_command", lambda files: "usermod … alice")
    needs = BuildNeeds((UIDMAP, LZ4), files)
    assert needs.mend("bubblewrap", as_root=False) == (
        "sudo apt-get install -y bubblewrap lz4 uidmap && sudo usermod … alice"
    )
    assert needs.mend(as_root=True) == "apt-get install -y lz4 uidmap && usermod … alice"
    assert BuildNeeds().mend() is BuildNeeds().problem() is None
    assert BuildNeeds(files=files).mend(as_root=False) == "sudo usermod … alice"


def test_a_user_is_told_of_all_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, files: tuple[Path, Path]
) -> None:
    monkeypatch.setattr(
        requirements, "REQUIREMENTS", (requirements.Requirement("no-such", "package-a", "does a"),)
    )
    monkeypatch.setattr(requirements, "UIDMAP", requirements.Requirement("no-newuidmap", "uidmap", "maps"))
    monkeypatch.setattr(requirements, "files_without_range", lambda: files)
    with pytest.raises(
        RequirementMissing, match=r"no-such .*no-newuidmap .*subordinate user numbers"
    ) as caught:
        check_requirements()
    assert (caught.value.mend or "").startswith(
        "sudo apt-get install -y package-a uidmap && sudo usermod --add-subuids"
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert [need.package for need in build_needs().programs] == ["package-a"]
    assert build_needs().files == (), "root needs none"

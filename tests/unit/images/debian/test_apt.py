from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.errors import RequirementMissing
from emberbox.images.debian.apt import is_debian, parse_index_targets
from emberbox.images.tools import requirements
from emberbox.images.tools.requirements import (
    REQUIREMENTS,
    Requirement,
    check_requirements,
    find_program,
    missing_requirements,
)

if TYPE_CHECKING:
    from pathlib import Path

TARGET = (
    "MetaKey: {component}/Packages\nRepo-URI: http://mirror.test/{name}/\n"
    "Release: {release}\nComponent: {component}\n"
)


def target(
    name: str, release: str, component: str, origin: str | None, key: str | None = None, codename: str = ""
) -> str:
    text = TARGET.format(name=name, release=release, component=component)
    text += f"Codename: {codename}\n" if codename else ""
    return text + (f"Origin: {origin}\n" if origin else "") + (f"Signed-By: {key}\n" if key else "")


def test_only_debians_own_sources_are_taken_of_whatever_release() -> None:
    text = "\n".join(
        [
            target("debian", "bookworm", "main", "Debian", "/keys/debian.gpg"),
            target("debian", "bookworm", "main", "Debian", "/keys/debian.gpg"),
            target("debian", "bookworm", "contrib", "Debian"),
            target(
                "security",
                "stable-security",
                "main",
                "Debian",
                "\n .\n inline key",
                codename="trixie-security",
            ),
            target("other", "bookworm", "main", "Vendor"),
            target("unknown", "bookworm", "main", None),
        ]
    )
    found = parse_index_targets(text)
    assert [source.line() for source in found] == [
        "deb [signed-by=/keys/debian.gpg] http://mirror.test/debian/ bookworm main",
        "deb http://mirror.test/security/ stable-security main",
    ]
    assert [(source.suite, source.pocket) for source in found] == [("bookworm", ""), ("trixie", "security")]
    assert parse_index_targets("") == ()


@pytest.mark.parametrize(
    ("text", "debian"),
    [
        ('ID=debian\nVERSION_CODENAME=trixie\nNAME="Debian"\n', True),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble\n", False),
        ("", False),
    ],
)
def test_debian_itself_is_told_from_its_relatives(tmp_path: Path, text: str, debian: bool) -> None:
    file = tmp_path / "os-release"
    file.write_text(text)
    assert is_debian(file) is debian
    assert is_debian(tmp_path / "missing") is False


def test_missing_programs_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = (
        Requirement("no-such-a", "package-a", "does a"),
        Requirement("no-such-b", "package-b", "does b"),
    )
    monkeypatch.setattr(requirements, "REQUIREMENTS", nothing)
    assert missing_requirements() == nothing
    with pytest.raises(RequirementMissing, match=r"no-such-a .*no-such-b") as caught:
        check_requirements()
    assert "apt-get install -y package-a package-b" in (caught.value.mend or "")
    with pytest.raises(RequirementMissing, match="sudo apt-get install package-b"):
        find_program("no-such-b")


def test_every_requirement_is_described() -> None:
    assert all(requirement.package and requirement.why for requirement in REQUIREMENTS)


def test_a_file_that_is_needed_is_looked_for_at_each_of_its_places(tmp_path: Path) -> None:
    keyring = Requirement(
        "keys", "package-of-keys", "vouches", files=(str(tmp_path / "a.gpg"), str(tmp_path / "a.pgp"))
    )
    assert keyring.find() is None
    (tmp_path / "a.pgp").touch()
    assert keyring.find() == str(tmp_path / "a.pgp")

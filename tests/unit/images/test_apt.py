from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.errors import RequirementMissing
from emberbox.images import requirements
from emberbox.images.apt import FALLBACK_SUITE, host_suite, is_debian, parse_index_targets
from emberbox.images.requirements import REQUIREMENTS, Requirement, check_requirements, find_program, missing_requirements
from emberbox.images.rootfs import check_subordinate_users

if TYPE_CHECKING:
    from pathlib import Path

TARGET = "MetaKey: {component}/Packages\nRepo-URI: http://mirror.test/{name}/\nRelease: {release}\nComponent: {component}\n"


def target(name: str, release: str, component: str, origin: str | None, key: str | None = None) -> str:
    text = TARGET.format(name=name, release=release, component=component)
    return text + (f"Origin: {origin}\n" if origin else "") + (f"Signed-By: {key}\n" if key else "")


def test_only_debians_own_sources_of_the_suite_are_taken() -> None:
    text = "\n".join(
        [
            target("debian", "bookworm", "main", "Debian", "/keys/debian.gpg"),
            target("debian", "bookworm", "main", "Debian", "/keys/debian.gpg"),
            target("debian", "bookworm", "contrib", "Debian"),
            target("security", "bookworm-security", "main", "Debian", "\n .\n inline key"),
            target("debian", "trixie", "main", "Debian"),
            target("other", "bookworm", "main", "Vendor"),
            target("unknown", "bookworm", "main", None),
        ]
    )
    assert [source.line() for source in parse_index_targets(text, "bookworm")] == [
        "deb [signed-by=/keys/debian.gpg] http://mirror.test/debian/ bookworm main",
        "deb http://mirror.test/security/ bookworm-security main",
    ]
    assert parse_index_targets("", "bookworm") == ()


@pytest.mark.parametrize(
    ("text", "suite", "debian"),
    [
        ('ID=debian\nVERSION_CODENAME=trixie\nNAME="Debian"\n', "trixie", True),
        ("ID=ubuntu\nVERSION_CODENAME=noble\n", FALLBACK_SUITE, False),
        ("ID=debian\n", FALLBACK_SUITE, True),
        ("", FALLBACK_SUITE, False),
    ],
)
def test_suite_of_the_host(tmp_path: Path, text: str, suite: str, debian: bool) -> None:
    file = tmp_path / "os-release"
    file.write_text(text)
    assert host_suite(file) == suite and is_debian(file) is debian
    assert host_suite(tmp_path / "missing") == FALLBACK_SUITE


def test_missing_programs_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = (Requirement("no-such-a", "package-a", "does a"), Requirement("no-such-b", "package-b", "does b"))
    monkeypatch.setattr(requirements, "REQUIREMENTS", nothing)
    assert missing_requirements() == nothing
    with pytest.raises(RequirementMissing, match=r"no-such-a .*no-such-b") as caught:
        check_requirements()
    assert caught.value.mend == "sudo apt-get install package-a package-b"
    with pytest.raises(RequirementMissing, match="sudo apt-get install package-b"):
        find_program("no-such-b")


def test_every_requirement_is_described() -> None:
    assert all(requirement.package and requirement.why for requirement in REQUIREMENTS)


def test_builds_without_root_need_subordinate_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "subuid"
    monkeypatch.setattr("emberbox.images.rootfs.shutil.which", lambda name: "/usr/bin/newuidmap")
    for text in ("", "root:100000:10\n", "someone:100000:65536\n"):
        file.write_text(text)
        with pytest.raises(RequirementMissing, match="usermod --add-subuids"):
            check_subordinate_users(file, file)
    import os
    import pwd

    file.write_text(f"{pwd.getpwuid(os.geteuid()).pw_name}:100000:65536\n")
    check_subordinate_users(file, file)

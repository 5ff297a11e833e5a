"""A release's sources on hosts of every kind: where they come from, and who vouches for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from emberbox.errors import ImageBuildFailed, RequirementMissing
from emberbox.images.debian import apt, suites
from emberbox.images.debian.apt import Source
from emberbox.images.debian.suites import find_suite, meaning, sources_of
from emberbox.images.tools.requirements import KEYRING, Requirement

KEYS = Path("/keys/debian-archive-keyring.gpg")
STABLE_KEYS = "/keys/debian-archive-trixie-stable.gpg"


def source(
    codename: str, *, release: str | None = None, key: str | None = str(KEYS), mirror: str = "debian"
) -> Source:
    return Source(f"http://mirror.test/{mirror}/", release or codename, codename, "main", key)


DEBIAN_12 = (source("bookworm"), source("bookworm-updates"), source("bookworm-security", mirror="security"))
DEBIAN_13 = (source("trixie"), source("trixie-updates"), source("trixie-security", mirror="security"))


def lines(suite: str, known: tuple[Source, ...]) -> list[str]:
    return [made.line() for made in sources_of(suite, known, KEYS)]


@pytest.mark.parametrize("suite", ["bookworm", "trixie", "forky"])
def test_every_host_has_the_same_sources_of_a_release(suite: str) -> None:
    expected = [
        f"deb [signed-by={KEYS}] http://mirror.test/debian/ {suite} main",
        f"deb [signed-by={KEYS}] http://mirror.test/debian/ {suite}-updates main",
        f"deb [signed-by={KEYS}] http://mirror.test/security/ {suite}-security main",
    ]
    assert lines(suite, DEBIAN_12) == lines(suite, DEBIAN_13) == expected


def test_what_only_some_hosts_have_is_left_out() -> None:
    more = (*DEBIAN_12, source("bookworm-backports"), source("bookworm-proposed-updates"))
    assert lines("bookworm", more) == lines("bookworm", DEBIAN_12)
    assert lines("trixie", more) == lines("trixie", DEBIAN_12)


def test_a_hosts_own_sources_of_a_release_go_first() -> None:
    own = source("bookworm", mirror="of-its-own", key=None)
    assert sources_of("bookworm", (*DEBIAN_13, own), KEYS) == (own,)
    assert lines("trixie", (*DEBIAN_13, own)) == lines("trixie", DEBIAN_13)


def test_a_release_that_the_host_names_by_an_alias() -> None:
    aliased = (source("trixie", release="stable"), source("trixie-security", release="stable-security"))
    assert sources_of("trixie", aliased, KEYS) == aliased
    assert [made.release for made in sources_of("bookworm", aliased, KEYS)] == [
        "bookworm",
        "bookworm-security",
    ]


@pytest.mark.parametrize(
    ("named", "taken"),
    [
        (STABLE_KEYS, str(KEYS)),  # the keys of one release do not vouch for another
        ("/keys/owner-of-the-mirror.gpg", "/keys/owner-of-the-mirror.gpg"),
        (None, None),
    ],
)
def test_who_vouches_for_another_release(named: str | None, taken: str | None) -> None:
    (made,) = sources_of("bookworm", (source("trixie", key=named),), KEYS)
    assert made.signed_by == taken
    (kept,) = sources_of("trixie", (source("trixie", key=named),), KEYS)
    assert kept.signed_by == named


class Host:
    """A host whose apt knows some sources."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, known: tuple[Source, ...], *, debian: bool) -> None:
        async def sources() -> tuple[Source, ...]:
            return known

        async def options() -> tuple[str, ...]:
            return ('Acquire::Retries "3"',)

        monkeypatch.setattr(apt, "host_sources", sources)
        monkeypatch.setattr(apt, "acquire_options", options)
        monkeypatch.setattr(apt, "is_debian", lambda: debian)


async def test_a_relative_with_debians_sources_uses_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Host(monkeypatch, DEBIAN_13, debian=False)
    suite = await find_suite("bookworm", tmp_path)
    assert [line.split()[3] for line in suite.listing.splitlines()] == [
        "bookworm",
        "bookworm-updates",
        "bookworm-security",
    ]
    assert suite.options == ('Acquire::Retries "3"',)


async def test_a_debian_without_lists_is_told_to_fetch_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Host(monkeypatch, (), debian=True)
    with pytest.raises(RequirementMissing, match="sudo apt-get update"):
        await find_suite("bookworm", tmp_path)


async def test_a_relative_without_debians_keys_is_told_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Host(monkeypatch, (), debian=False)
    monkeypatch.setattr(
        suites, "KEYRING", Requirement("keys", "keys", "vouches", files=(str(tmp_path / "none"),))
    )
    with pytest.raises(RequirementMissing, match="apt-get install debian-archive-keyring"):
        await find_suite("bookworm", tmp_path)


async def test_a_relative_without_debians_sources_goes_by_mmdebstraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if any(
        requirement.find() is None for requirement in (KEYRING, Requirement("mmdebstrap", "mmdebstrap", ""))
    ):
        pytest.skip("mmdebstrap or debian-archive-keyring is not installed")
    Host(monkeypatch, (), debian=False)
    suite = await find_suite("trixie", tmp_path)
    assert all("signed-by=" in line for line in suite.listing.splitlines() if line.startswith("deb "))
    releases = [
        line.split("]")[-1].split()[-2] for line in suite.listing.splitlines() if line.startswith("deb ")
    ]
    assert releases == ["trixie", "trixie-updates", "trixie-security"]
    assert not list(tmp_path.iterdir())


def test_sources_that_name_no_keyring_get_one() -> None:
    listing = (
        "deb http://mirror.test/debian trixie main\n"
        "deb [signed-by=/keys/own.gpg] http://mirror.test/own trixie main\n"
    )
    assert suites.vouched(listing, KEYS) == listing.replace("deb http", f"deb [signed-by={KEYS}] http")


@pytest.mark.parametrize(
    ("output", "kind", "words"),
    [
        (
            "W: GPG error: … NO_PUBKEY 6ED0E7B82643E131\nE: The repository 'x' is not signed.",
            RequirementMissing,
            "vouches",
        ),
        (
            "Sub-process /usr/bin/sqv returned an error code (1), error message is: Missing key B8B8",
            RequirementMissing,
            "vouches",
        ),
        (
            "E: The repository 'x etch Release' does not have a Release file.",
            ImageBuildFailed,
            "no Debian release 'etch'",
        ),
        ("E: Could not resolve 'mirror.test'", type(None), ""),
    ],
)
def test_what_apt_says_is_told_by_its_meaning(output: str, kind: type, words: str) -> None:
    meant = meaning(ImageBuildFailed("apt-get ended with code 100", detail=output), "etch")
    assert type(meant) is kind
    assert words in str(meant or "")

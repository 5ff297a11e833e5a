from __future__ import annotations

from emberbox.images.debian.newer import (
    Offered,
    PackageChange,
    changed_packages,
    newer_packages,
    parse_madison,
)

MADISON = """\
   openssl | 3.0.17-1~deb12u3 | https://mirror.test/debian-security bookworm-security/main amd64 Packages
   openssl | 3.0.17-1~deb12u2 | https://mirror.test/debian bookworm/main amd64 Packages
      bash | 5.2.15-2 | https://mirror.test/debian bookworm/main amd64 Packages
      bash | 5.2.15-2 | https://mirror.test/debian bookworm/main Sources
    tzdata | 2026a | https://mirror.test/debian bookworm-updates/main amd64 Packages
N: Unable to locate package nothing
"""


def test_what_a_release_offers_and_which_of_it_is_a_security_fix() -> None:
    assert parse_madison(MADISON) == {
        "openssl": (Offered("3.0.17-1~deb12u3", True), Offered("3.0.17-1~deb12u2", False)),
        "bash": (Offered("5.2.15-2", False),),
        "tzdata": (Offered("2026a", False),),
    }


def test_a_version_that_is_both_in_the_release_and_in_its_security_archive_is_a_fix() -> None:
    both = "a | 2 | x: bookworm/main amd64 Packages\na | 2 | y: bookworm-security/main amd64 Packages\n"
    assert parse_madison(both) == {"a": (Offered("2", True),)}
    assert parse_madison("\n".join(reversed(both.splitlines()))) == {"a": (Offered("2", True),)}


def test_what_is_newer_by_name() -> None:
    installed = {"tzdata": "2025b", "openssl": "3.0.17-1~deb12u2", "bash": "5.2.15-2", "gone": "1"}
    assert newer_packages(installed, parse_madison(MADISON)) == (
        PackageChange("openssl", "3.0.17-1~deb12u2", "3.0.17-1~deb12u3", security=True),
        PackageChange("tzdata", "2025b", "2026a", security=False),
    )


def test_a_mirror_that_lags_behind_makes_nothing_newer() -> None:
    assert newer_packages({"openssl": "3.0.18-1", "tzdata": "2026a"}, parse_madison(MADISON)) == ()


def test_a_fix_that_a_later_version_has_taken_over_stays_one() -> None:
    offered = {"a": (Offered("3", False), Offered("2", True))}
    assert newer_packages({"a": "1"}, offered) == (PackageChange("a", "1", "3", security=True),)
    assert newer_packages({"a": "2"}, offered) == (PackageChange("a", "2", "3", security=False),)


def test_what_differs_between_two_images() -> None:
    before, after = {"a": "1", "b": "1", "c": "1"}, {"a": "2", "b": "1", "d": "1"}
    assert changed_packages(before, after, ["a"]) == (
        PackageChange("a", "1", "2", security=True),
        PackageChange("c", "1", None),
        PackageChange("d", None, "1"),
    )

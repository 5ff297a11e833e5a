from __future__ import annotations

from emberbox.images.debian.packages import needed, parse_status

STATUS = """\
Package: toy
Status: install ok installed
Architecture: amd64
Version: 1.0-1
Depends: libtoy (>= 1), gawk | mawk, toy-virtual:any [amd64], dpkg (>= 1.13)
Pre-Depends: libc6
Description: a toy
 Depends: not-a-field

Package: libtoy
Status: install ok installed
Version: 2

Package: mawk
Status: install ok installed
Version: 3

Package: real
Status: install ok installed
Version: 4
Provides: toy-virtual (= 4), other

Package: libc6
Status: install ok installed
Version: 5

Package: dpkg
Status: install ok installed
Version: 6
Depends: only-for-dpkg

Package: only-for-dpkg
Status: install ok installed
Version: 7

Package: gone
Status: deinstall ok config-files
Version: 8
"""


def test_status_lists_what_is_installed() -> None:
    packages = parse_status(STATUS)
    assert sorted(packages) == ["dpkg", "libc6", "libtoy", "mawk", "only-for-dpkg", "real", "toy"]
    assert packages["toy"].depends == (("libc6",), ("libtoy",), ("gawk", "mawk"), ("toy-virtual",), ("dpkg",))
    assert packages["real"].provides == ("toy-virtual", "other")


def test_installers_go_with_what_only_they_need() -> None:
    assert needed(parse_status(STATUS), ["toy"]) == {"toy", "libtoy", "mawk", "real", "libc6"}


def test_an_installer_that_is_asked_for_stays() -> None:
    assert {"dpkg", "only-for-dpkg"} <= needed(parse_status(STATUS), ["toy", "dpkg"])


def test_the_base_stays_without_being_asked_for() -> None:
    assert needed(parse_status(STATUS), []) == {"mawk"}

"""Which addresses webhooks may call."""

from __future__ import annotations

import pytest

from emberbox.config import WebhookSettings
from emberbox.errors import InvalidInput, InvalidSettings
from emberbox.service.webhooks.reach import Reach
from emberbox.service.webhooks.targets import check_url

OWN = ["198.41.0.4", "2001:500:9f::42", "fe80::1"]
ELSEWHERE = ["198.41.0.5", "2001:500:9f::43", "64:ff9b::c629:5"]
HERE = ["198.41.0.4", "::ffff:198.41.0.4", "64:ff9b::c629:4", "2001:500:9f::42", "2001:500:9f:0::0042"]
BEHIND = ["192.34.59.7", "::ffff:192.34.59.7", "64:ff9b::c022:3b07", "2606:4700::5"]


def reach(own: list[str] = OWN, **settings: object) -> Reach:
    return Reach(WebhookSettings(**settings), own=lambda: own)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", HERE)
def test_the_hosts_own_public_addresses_are_not_called(address: str) -> None:
    assert not reach().allows(address)
    assert reach([]).allows(address)


@pytest.mark.parametrize("address", ELSEWHERE)
def test_its_neighbours_are(address: str) -> None:
    assert reach().allows(address)


@pytest.mark.parametrize("address", BEHIND)
def test_what_a_setting_names_is_the_hosts_own_too(address: str) -> None:
    assert reach().allows(address)
    assert not reach(own_addresses="192.34.59.0/28, 2606:4700::/64").allows(address)


def test_addresses_are_read_anew_each_time() -> None:
    own: list[str] = []
    judge = Reach(WebhookSettings(), own=lambda: own)
    assert judge.allows("198.41.0.4")
    own.append("198.41.0.4")
    assert not judge.allows("198.41.0.4")


def test_where_they_cannot_be_read_nothing_is_called() -> None:
    def fail() -> list[str]:
        raise OSError("no netlink here")

    assert not Reach(WebhookSettings(), own=fail).allows("198.41.0.5")


def test_private_addresses_only_where_they_are_allowed() -> None:
    assert not reach().allows("10.0.0.1")
    assert reach(allow_private=True).allows("10.0.0.1")
    assert reach(allow_private=True).allows("198.41.0.4")


def test_a_url_that_names_the_host_is_refused_at_once() -> None:
    with pytest.raises(InvalidInput, match="own host"):
        check_url("https://198.41.0.4/hook", reach())
    assert check_url("https://198.41.0.5/hook", reach()).host == "198.41.0.5"


@pytest.mark.parametrize("text", ["localhost", "10.0.0.1;10.0.0.2", "10.0.0.0/33", "::g"])
def test_a_setting_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"webhooks\.own_addresses"):
        WebhookSettings(own_addresses=text)

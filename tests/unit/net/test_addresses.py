"""The check of addresses: nothing that is not the public internet passes, in whatever form it is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emberbox.net.addresses import is_loopback, is_public, is_public_or_private, literal_address
from tests.unit.net import iana

PUBLIC = """
    1.1.1.1 8.8.8.8 93.184.216.34 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0
    169.253.255.255 223.255.255.255 2606:4700::1 2606:4700::1111 2A00:1450:4001:80B::200E
    ::ffff:8.8.8.8 64:ff9b::808:808 2606:4700::5efe:808:808 3ffe:ffff::1 3fff:1000:: 2001:200::
    2003::
"""
NOT_PUBLIC = """
    0.0.0.0 0.0.0.1 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254
    169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1 192.0.0.9 192.0.2.1 192.168.1.1
    198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    192.88.99.1 168.63.129.16 100.100.100.200 :: ::1 ::ffff:0:0 ::ffff:127.0.0.1
    ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::127.0.0.1 ::8.8.8.8 ::ffff:0:8.8.8.8
    ::ffff:0:a9fe:a9fe 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::808:808
    64:ff9b:1:a9fe:a9:fe00:: 2002:7f00:1:: 2002:a9fe:a9fe:: 2002:808:808:: 2001::1
    2001:0:808:808::f7f7:f7f7 2606:4700::5efe:a9fe:a9fe 2606:4700::200:5efe:10.0.0.1 2001:db8::1
    3fff::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 100::1 5f00::1
    2606:4700::1%1
"""
NO_ADDRESS = [
    "",
    "nonsense",
    "1.2.3",
    "256.1.1.1",
    "1.1.1.1.",
    "08.8.8.8",
    "8.8.8.08",
    "010.8.8.8",
    "134744072",
    "0x8080808",
    "0x8.8.8.8",
    " 8.8.8.8",
    "8.8.8.8 ",
    "8.8.8.8\n",
    "8.8.8.8/32",
    "８.8.8.8",
    "8.8.8.8:80",
    "[2606:4700::1]",
    "[2606:4700::1]:80",
    "2606:4700::1%",
    "2606:4700::1%25eth0",
    "2606:4700:::1",
    "2606:4700::12345",
    "0x2606::1",
    "::ffff:08.8.8.8",
    "2606:4700::1/128",
    "localhost",
    "example.org",
]
NEVER_SERVERS = """
    0.0.0.0 169.254.169.254 224.0.0.1 255.255.255.255 fe80::1 fe80::1%eth0 fd00::1%eth0 ff02::1
    :: ::ffff:169.254.169.254 ::169.254.169.254 ::ffff:0:169.254.169.254 64:ff9b::a9fe:a9fe
    64:ff9b:1::a9fe:a9fe 64:ff9b:1:a9fe:a9:fe00:: 2002:a9fe:a9fe:: 2001:0:a9fe:a9fe::f7f7:f7f7
    2001:0:808:808::5601:5601 fd00::5efe:a9fe:a9fe 168.63.129.16 100.100.100.200 192.0.0.192
    fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:c1::a9fe:a9fe fd00:42::42
"""
PRIVATE_SERVERS = "10.0.0.1 127.0.0.1 100.64.0.1 192.168.1.1 ::1 ::ffff:127.0.0.1 fd00::1 fec0::1"

ALL_V4, ALL_V6 = IPv4Network("0.0.0.0/0"), IPv6Network("2000::/3")
REFUSED_V4 = [network for network, reachable in iana.V4.items() if not reachable]
REFUSED_V6 = [network for network, reachable in iana.V6.items() if not reachable]
JUDGED_BY_IPV4 = ["::ffff:{}", "64:ff9b::{}"]
EMBEDDINGS = """
    ::ffff:{} 64:ff9b::{} ::{} ::ffff:0:{} 64:ff9b:1::{} 64:ff9b:1:7::{} 2606:4700::5efe:{}
    2606:4700::200:5efe:{} 2606:4700::1:300:5efe:{} fe80::5efe:{}
"""


def _inside(network: IPv4Network | IPv6Network) -> st.SearchStrategy[IPv4Address | IPv6Address]:
    return st.ip_addresses(network=network) | st.sampled_from([network[0], network[-1]])


def _hex(address: IPv4Address) -> str:
    return f"{int(address) >> 16:x}:{int(address) & 0xFFFF:x}"


def _special_v4(address: IPv4Address) -> bool:
    return any(address in network for network in REFUSED_V4) or str(address) in NOT_PUBLIC.split()


def _stands_for(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a mapped or NAT64 address is judged as."""
    if any(address in IPv6Network(text) for text in ("::ffff:0:0/96", "64:ff9b::/96")):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _outside(networks: list[IPv4Network] | list[IPv6Network], space: IPv4Network | IPv6Network) -> list[str]:
    """Return the addresses on both sides of each block, those that lie in another block left out."""
    numbers = [number for network in networks for number in (int(network[0]) - 1, int(network[-1]) + 1)]
    kind = type(space[0])
    beside = [kind(number) for number in numbers if int(space[0]) <= number <= int(space[-1])]
    return [str(one) for one in beside if not any(one in network for network in networks)]


OUTSIDE_V4 = _outside(REFUSED_V4, ALL_V4)
OUTSIDE_V6 = _outside(REFUSED_V6, ALL_V6)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_pass(address: str) -> None:
    assert is_public(address)
    assert is_public_or_private(address)


@pytest.mark.parametrize("address", f"{NOT_PUBLIC} {NEVER_SERVERS} {PRIVATE_SERVERS}".split())
def test_no_other_address_passes(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("text", NO_ADDRESS)
def test_what_is_not_spelled_as_an_address_is_none(text: str) -> None:
    assert not is_public(text)
    assert not is_public_or_private(text)


@pytest.mark.parametrize("address", NEVER_SERVERS.split())
def test_some_addresses_are_no_servers(address: str) -> None:
    assert not is_public_or_private(address)


@pytest.mark.parametrize("address", PRIVATE_SERVERS.split())
def test_private_addresses_can_be_servers(address: str) -> None:
    assert is_public_or_private(address)


@pytest.mark.parametrize("network", REFUSED_V4, ids=str)
@settings(max_examples=25)
@given(data=st.data(), form=st.sampled_from(EMBEDDINGS.split()))
def test_nothing_in_a_special_block_passes_by_itself_or_inside_an_ipv6_address(
    network: IPv4Network, data: st.DataObject, form: str
) -> None:
    address = data.draw(_inside(network))
    assert isinstance(address, IPv4Address)
    inverted = IPv4Address(int(address) ^ 0xFFFF_FFFF)
    assert not is_public(str(address))
    assert not is_public(form.format(address))
    assert not is_public(form.format(_hex(address)).upper())
    assert not is_public(f"2002:{_hex(address)}::{_hex(address)}")
    assert not is_public(f"2001:0:{_hex(address)}::f7f7:f7f7")
    assert not is_public(f"2001:0:808:808::{_hex(inverted)}")


@pytest.mark.parametrize("network", REFUSED_V6, ids=str)
@settings(max_examples=25)
@given(data=st.data())
def test_nothing_in_a_special_block_of_ipv6_passes(network: IPv6Network, data: st.DataObject) -> None:
    address = data.draw(_inside(network))
    stands_for = _stands_for(address)
    assert is_public(str(address)) is (stands_for is not None and not _special_v4(stands_for))
    assert not is_public(f"{address}%eth0")


@pytest.mark.parametrize("address", OUTSIDE_V4)
def test_the_addresses_beside_the_special_blocks_pass(address: str) -> None:
    assert is_public(address)
    assert all(is_public(form.format(address)) for form in JUDGED_BY_IPV4)


@pytest.mark.parametrize("address", OUTSIDE_V6)
def test_the_addresses_beside_the_special_blocks_of_ipv6_pass(address: str) -> None:
    assert is_public(address)


def test_both_sides_of_blocks_were_looked_at() -> None:
    assert {"9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "223.255.255.255"} < set(OUTSIDE_V4)
    assert {"2001:200::", "2001:db9::", "2003::", "3fff:1000::", f"3ffe{':ffff' * 7}"} < set(OUTSIDE_V6)


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6) | st.ip_addresses(network="2000::/3"))
def test_the_rest_of_the_space_that_is_given_out_passes(address: IPv4Address | IPv6Address) -> None:
    if isinstance(address, IPv4Address):
        assert is_public(str(address)) is not _special_v4(address)
        return
    assume(int(address) >> 32 & 0xFFFF != 0x5EFE and _stands_for(address) is None)
    assert is_public(str(address)) is not any(address in network for network in REFUSED_V6)


@given(st.ip_addresses())
def test_what_passes_is_global_to_the_standard_library_too(address: IPv4Address | IPv6Address) -> None:
    if is_public(str(address)):
        judged = _stands_for(address) or address
        assert judged.is_global
        assert not (judged.is_multicast or judged.is_loopback)
        assert not (judged.is_link_local or judged.is_unspecified)


@given(st.ip_addresses() | st.text(max_size=40))
def test_what_is_public_can_be_a_server(address: object) -> None:
    assert is_public_or_private(str(address)) or not is_public(str(address))


@given(st.ip_addresses(v=4), st.integers(0, 5))
def test_every_form_of_an_address_is_the_same_address(address: IPv4Address, form: int) -> None:
    number, octets = int(address), address.packed
    by_octet, short = ".".join(f"0{octet:o}" for octet in octets), f"{octets[0]}.{number & 0xFFFFFF}"
    text = [str(address), str(number), hex(number), f"0{number:o}", by_octet, short][form]
    assert literal_address(text) == str(address)


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_is_spelled_in_one_way(address: IPv6Address) -> None:
    assert literal_address(address.exploded.upper()) == str(address)


@pytest.mark.parametrize(
    "name",
    [
        "example.org",
        "localhost",
        "1.2.3.4.example.org",
        "0xzz",
        "08.1.1.1",
        "",
        "127.0.0.1 x",
        "127.0.0.1\t",
        " 127.0.0.1",
        "[::1]",
        "4294967296",
        "１２７.0.0.1",
        "1.2.3.4.5",
    ],
)
def test_a_name_is_no_literal_address(name: str) -> None:
    assert literal_address(name) is None


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),  # noqa: S104
        ("::", False),
        ("box", False),
        ("10.0.0.1", False),
        ("localhost.evil", False),
        ("::1%lo", False),
        ("2130706433", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback

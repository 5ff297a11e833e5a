"""The check of addresses: nothing that is not the public internet passes, in whatever form it is written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.jobs.webhooks.addresses import is_public, literal_address

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "169.253.255.255",
    "223.255.255.255", "2606:4700::1111", "2a00:1450:4001:80b::200e", "::ffff:8.8.8.8", "64:ff9b::808:808",
]  # fmt: skip
NOT_PUBLIC = [
    "0.0.0.1", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1",
    "::", "::1", "::ffff:0:0", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001::1", "2001:db8::1", "3fff::1",
    "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "100::1", "5f00::1", "2606:4700::1%1",
    "", "nonsense", "1.2.3", "256.1.1.1", "1.1.1.1.",
]  # fmt: skip
SPECIAL_V4 = [ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16")]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_other_address_passes(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses())
def test_what_passes_is_global_to_the_standard_library_too(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if is_public(str(address)):
        mapped = getattr(address, "ipv4_mapped", None)
        judged = mapped or address
        nat64 = isinstance(judged, ipaddress.IPv6Address) and judged in ipaddress.IPv6Network("64:ff9b::/96")
        assert judged.is_global or nat64
        assert not (judged.is_multicast or judged.is_loopback or judged.is_link_local or judged.is_unspecified)


@given(st.sampled_from(SPECIAL_V4), st.integers(0, 2**32 - 1), st.sampled_from(["{}", "::ffff:{}", "64:ff9b::{}", "::{}"]))
def test_a_private_address_does_not_pass_inside_an_ipv6_address(net: ipaddress.IPv4Network, bits: int, form: str) -> None:
    address = ipaddress.IPv4Address(int(net.network_address) | (bits & int(net.hostmask)))
    assert not is_public(form.format(address))


@given(st.ip_addresses(v=4), st.integers(0, 5))
def test_every_form_of_an_address_is_the_same_address(address: ipaddress.IPv4Address, form: int) -> None:
    number, octets = int(address), address.packed
    by_octet, short = ".".join(f"0{octet:o}" for octet in octets), f"{octets[0]}.{number & 0xFFFFFF}"
    text = [str(address), str(number), hex(number), f"0{number:o}", by_octet, short][form]
    assert literal_address(text) == str(address)


@pytest.mark.parametrize("name", ["example.org", "localhost", "1.2.3.4.example.org", "0xzz", "08.1.1.1", ""])
def test_a_name_is_no_literal_address(name: str) -> None:
    assert literal_address(name) is None

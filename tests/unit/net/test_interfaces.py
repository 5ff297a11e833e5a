"""The addresses of this host, in a network namespace that has what the test gives it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from emberbox.net.interfaces import own_addresses

GIVEN = ("198.41.0.4", "2001:500:9f::42")
PROGRAM = f"""
import fcntl, json, socket, struct
from ipaddress import ip_address
from emberbox.net.interfaces import own_addresses

before = sorted(own_addresses())
v4, v6 = {GIVEN!r}
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    address = struct.pack("=HH4s8x", socket.AF_INET, 0, ip_address(v4).packed)
    fcntl.ioctl(control, 0x8916, struct.pack("16s", b"lo") + address)  # SIOCSIFADDR
    fcntl.ioctl(control, 0x8914, struct.pack("16sH14x", b"lo", 0x49))  # SIOCSIFFLAGS: up, loopback, running
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
    index = socket.if_nametoindex("lo")
    fcntl.ioctl(control, 0x8916, struct.pack("=16sIi", ip_address(v6).packed, 128, index))
print(json.dumps([before, sorted(own_addresses())]))
"""


def test_every_address_of_every_interface_is_told() -> None:
    words = ["unshare", "--net", "--map-root-user", sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(f"no namespace can be made here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert set(GIVEN).isdisjoint(before)
    assert set(GIVEN) <= set(after)


def test_loopback_is_this_hosts() -> None:
    assert "127.0.0.1" in own_addresses()

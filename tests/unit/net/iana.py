"""IANA's registries of special-purpose addresses, as of October 2025.

Each block is named with whether it is globally reachable. Blocks without a say on that (6to4, Teredo, and
those that ended) count as not reachable. Multicast, reserved and site-local addresses, and what lies outside
2000::/3, are in IANA's registries of the whole address space.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

V4 = {
    IPv4Network(text): reachable
    for text, reachable in {
        "0.0.0.0/8": False,  # this network
        "0.0.0.0/32": False,  # this host on this network
        "10.0.0.0/8": False,  # private use
        "100.64.0.0/10": False,  # shared address space
        "127.0.0.0/8": False,  # loopback
        "169.254.0.0/16": False,  # link-local
        "172.16.0.0/12": False,  # private use
        "192.0.0.0/24": False,  # protocol assignments
        "192.0.0.0/29": False,  # IPv4 service continuity
        "192.0.0.8/32": False,  # dummy address
        "192.0.0.9/32": True,  # Port Control Protocol anycast
        "192.0.0.10/32": True,  # TURN anycast
        "192.0.0.170/32": False,  # NAT64 and DNS64 discovery
        "192.0.0.171/32": False,
        "192.0.2.0/24": False,  # documentation
        "192.31.196.0/24": True,  # AS112
        "192.52.193.0/24": True,  # AMT
        "192.88.99.0/24": False,  # 6to4 relay anycast, deprecated
        "192.88.99.2/32": False,  # 6a44 relay anycast
        "192.168.0.0/16": False,  # private use
        "192.175.48.0/24": True,  # direct delegation AS112
        "198.18.0.0/15": False,  # benchmarking
        "198.51.100.0/24": False,  # documentation
        "203.0.113.0/24": False,  # documentation
        "224.0.0.0/4": False,  # multicast
        "240.0.0.0/4": False,  # reserved
        "255.255.255.255/32": False,  # limited broadcast
    }.items()
}
V6 = {
    IPv6Network(text): reachable
    for text, reachable in {
        "::/128": False,  # unspecified
        "::1/128": False,  # loopback
        "::ffff:0:0/96": False,  # mapped
        "64:ff9b::/96": True,  # translated (NAT64)
        "64:ff9b:1::/48": False,  # translated, local use
        "100::/64": False,  # discard-only
        "100:0:0:1::/64": False,  # dummy prefix
        "2001::/23": False,  # protocol assignments
        "2001::/32": False,  # Teredo
        "2001:1::1/128": True,  # Port Control Protocol anycast
        "2001:1::2/128": True,  # TURN anycast
        "2001:1::3/128": True,  # service registration anycast
        "2001:2::/48": False,  # benchmarking
        "2001:3::/32": True,  # AMT
        "2001:4:112::/48": True,  # AS112
        "2001:10::/28": False,  # ORCHID, deprecated
        "2001:20::/28": True,  # ORCHIDv2
        "2001:30::/28": True,  # drones' identifiers
        "2001:db8::/32": False,  # documentation
        "2002::/16": False,  # 6to4
        "2620:4f:8000::/48": True,  # direct delegation AS112
        "3fff::/20": False,  # documentation
        "5f00::/16": False,  # SRv6 segment identifiers
        "fc00::/7": False,  # unique local
        "fe80::/10": False,  # link-local
        "fec0::/10": False,  # site-local, deprecated
        "ff00::/8": False,  # multicast
        # What lies outside 2000::/3, and has no other row.
        "::/8": False,
        "100::/8": False,
        "200::/7": False,
        "400::/6": False,
        "800::/5": False,
        "1000::/4": False,
        "4000::/2": False,
        "8000::/2": False,
        "c000::/3": False,
        "e000::/4": False,
        "f000::/5": False,
        "f800::/6": False,
        "fe00::/9": False,
    }.items()
}

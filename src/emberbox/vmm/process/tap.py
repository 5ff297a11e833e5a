"""Opening a TAP device that exists already, in whichever network namespace it lives.

Source: the kernel's networking/tuntap document; setns(2).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from emberbox.files.descriptors import opened

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.base import NetworkAttachment

_TUNSETIFF = 0x400454CA
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000
_CLONE_NEWNET = 0x40000000


def open_tap(network: NetworkAttachment) -> int:
    """Return a descriptor of the TAP device. Raises `OSError` when it is missing, busy or not ours."""
    if network.netns is None:
        return _open(network.tap)
    # A namespace belongs to a thread, so enter it in one that ends right after.
    with ThreadPoolExecutor(1, thread_name_prefix="tap") as thread:
        return thread.submit(_in_namespace, network.netns, network.tap).result()


def _open(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _in_namespace(path: Path, name: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    with opened(path, os.O_RDONLY) as namespace:
        if libc.setns(namespace, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "the network namespace cannot be entered", str(path))
    return _open(name)

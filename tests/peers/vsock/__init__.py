"""A virtio-vsock device, as a vhost-user back-end for QEMU, whose host side is as Firecracker's.

Needs nothing but the standard library, and imports nothing from the project: it also runs alone,
inside a jail.
"""

from .device import VsockDevice

__all__ = ["VsockDevice"]

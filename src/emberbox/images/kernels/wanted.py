"""The kernel modules that guests insert, by name."""

from __future__ import annotations

from emberbox.images.records import BUILDER_VERSION, key_of

WANTED = (
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "virtio_net",
    "overlay",
)
"""What every guest needs beyond what the kernel has built in; a missing one is left out when it is
built in."""

WANTED_ON_VSOCK = ("vmw_vsock_virtio_transport", "virtio_balloon")
"""What only a guest whose agent is reached by vsock needs: inserting them costs the others time for
nothing."""

OFFERED_ON_VSOCK = ("virtio_mem",)
"""The same, where the kernel has it: some architectures do not."""

WANTED_OF_OWN = ("ext4", "crc32c_generic", *WANTED)
"""What is inserted of a kernel of somebody's own, as far as it is a module there: Debian's kernel
has the first built in."""


def modules_digest() -> str:
    """Return the SHA-256, as hex, over which kernel modules are chosen."""
    return key_of({"always": WANTED, "vsock": WANTED_ON_VSOCK, "offered": OFFERED_ON_VSOCK})


def own_kernel_digest() -> str:
    """Return the hex SHA-256 of what is taken from somebody's own kernel.

    Another release of Emberbox may take more modules.
    """
    wanted = {"always": WANTED_OF_OWN, "vsock": WANTED_ON_VSOCK, "offered": OFFERED_ON_VSOCK}
    return key_of({**wanted, "builder": BUILDER_VERSION})

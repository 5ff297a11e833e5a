"""How much an imported image may be: its layers come from strangers."""

from __future__ import annotations

from typing import Final

MANIFEST_BYTES: Final = 4 * 1024 * 1024
CONFIG_BYTES: Final = 4 * 1024 * 1024
LAYERS: Final = 256
UNPACKED_BYTES: Final = 8 * 1024**3
"""All layers together, unpacked; what a later layer replaces counts as well."""
ENTRIES: Final = 500_000
"""All layers together."""
HEADER_BYTES: Final = 1024 * 1024
"""One header of a tar archive with all that extends it: names, times, extended attributes, maps of holes."""
PATH_BYTES: Final = 3072
"""Below the kernel's bound for a path on the host, where the image is put together."""
NAME_BYTES: Final = 255
DEPTH: Final = 128
LINK_BYTES: Final = 4095
LINK_HOPS: Final = 40
STEPS: Final = 1024
"""How many names are looked up for one path, links included."""
MAX_ID: Final = 2**31 - 1
MAX_TIME_S: Final = 2**32 - 1

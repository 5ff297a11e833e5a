"""How much an imported image may be: its layers come from strangers."""

from __future__ import annotations

MANIFEST_BYTES = 4 * 1024 * 1024
CONFIG_BYTES = 4 * 1024 * 1024
LAYERS = 256
UNPACKED_BYTES = 8 * 1024**3
"""All layers together, unpacked; what a later layer replaces counts as well."""
ENTRIES = 500_000
"""All layers together."""
HEADER_BYTES = 1024 * 1024
"""One header of a tar archive with all that extends it: names, times, extended attributes, maps of holes."""
PATH_BYTES = 3072
"""Below the kernel's bound for a path on the host, where the image is put together."""
NAME_BYTES = 255
DEPTH = 128
LINK_BYTES = 4095
LINK_HOPS = 40
STEPS = 1024
"""How many names are looked up for one path, links included."""
MAX_ID = 2**31 - 1
MAX_TIME_S = 2**32 - 1

"""By what Firecracker's processes are known to be ours."""

from __future__ import annotations

from emberbox.vmm.process.marks import Mark

# Other users of Firecracker on the host commonly take names and UUIDs.
MARK = Mark(programs=("firecracker",), wrappers=("jailer",), option="--id", value="([a-z0-9]+-[0-9]+)")
"""By which its processes are found."""

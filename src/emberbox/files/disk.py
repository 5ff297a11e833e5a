"""What a failure says of the disk."""

from __future__ import annotations

import errno


def is_full(error: Exception) -> bool:
    """Return whether something failed since its disk, or its user's share of it, is used up."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)

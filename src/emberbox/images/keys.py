"""The keys of parts and images: hashes over all that goes in."""

from __future__ import annotations

import hashlib
import json
from typing import Any

BUILDER_VERSION = 1
"""Raised whenever the same inputs give another image."""


def key_of(inputs: dict[str, Any]) -> str:
    """Return the SHA-256, as hex, over inputs, whatever their order."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

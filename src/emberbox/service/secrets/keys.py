"""Keys that seal secrets, and their written form.

A ring is text with a key in each line: 32 random bytes in base 64, as `openssl rand -base64 32` prints them.
The first one seals; the others are read still. Empty lines, and those that begin with `#`, mean nothing. A
key has no name of its own: it is known by a hash of it, so that no two can be mistaken for each other.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Self

from emberbox.errors import SecretsUnavailable

KEY_BYTES = 32
MOST_KEYS = 100
_ID_LENGTH = 12
_HINT = "a key is 32 random bytes in base 64, such as `openssl rand -base64 32` prints"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of AES-256. `id` names it, and tells nothing of it."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """The key's name in what it sealed."""
        return hashlib.sha256(b"emberbox key\0" + self.secret).hexdigest()[:_ID_LENGTH]

    @classmethod
    def new(cls) -> Self:
        """Return a new random key."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def parse(cls, line: str) -> Self:
        """Return the key of a line. Raises `SecretsUnavailable`, whose message does not tell the line."""
        try:
            secret = base64.b64decode(line.encode("ascii").translate(_STANDARD), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != KEY_BYTES:
            raise SecretsUnavailable(f"a line of the keys is no key: {_HINT}")
        return cls(secret)

    def __str__(self) -> str:
        """Return the id, never the key."""
        return self.id


_STANDARD = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that are known, at least one. The first one seals."""

    keys: tuple[Key, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the ring of a text. Raises `SecretsUnavailable` for one without keys, or that is no ring."""
        lines = [line.strip() for line in text.splitlines()]
        keys = [Key.parse(line) for line in lines if line and not line.startswith("#")]
        if not 1 <= len(keys) <= MOST_KEYS:
            raise SecretsUnavailable(f"there are {len(keys)} keys; 1 to {MOST_KEYS} are taken: {_HINT}")
        return cls(tuple(dict.fromkeys(keys)))

    def render(self) -> str:
        """Return the ring's text."""
        lines = [base64.b64encode(key.secret).decode() for key in self.keys]
        return "\n".join(["# The first key seals new secrets; the others are read still.", *lines, ""])

    @property
    def current(self) -> Key:
        """The key that seals."""
        return self.keys[0]

    def find(self, key_id: str) -> Key | None:
        """Return the key of that id; None where it is not known."""
        return next((key for key in self.keys if key.id == key_id), None)

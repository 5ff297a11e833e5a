"""Sealed texts: AES-256-GCM under a key that is named, bound to the place where the text lies.

`sealed1:<key's id>:<base 64 of nonce, ciphertext and tag>`. The place, such as `webhooks/whk_…/secret`, is
associated data: a sealed text that is moved to another row, or altered, does not open.
"""

from __future__ import annotations

import base64
import binascii
import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from emberbox.errors import SecretsUnavailable

if TYPE_CHECKING:
    from emberbox.service.secrets.keys import Key, Keyring

_SCHEME = "sealed1"
_NONCE_BYTES = 12


def seal(key: Key, text: str, place: str) -> str:
    """Return the text, sealed for a place."""
    nonce = os.urandom(_NONCE_BYTES)
    sealed = AESGCM(key.secret).encrypt(nonce, text.encode(), _bound(key.id, place))
    return f"{_SCHEME}:{key.id}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"


def key_of(text: str) -> str | None:
    """Return the id of the key that sealed a text; None for one that is not sealed."""
    scheme, _, rest = text.partition(":")
    return rest.partition(":")[0] if scheme == _SCHEME else None


def unseal(ring: Keyring, text: str, place: str) -> str:
    """Return what was sealed. A text that is not sealed, as earlier releases wrote it, is returned as it is.

    Raises:
        SecretsUnavailable: Its key is not in the ring, or it was altered or moved.
    """
    if (key_id := key_of(text)) is None:
        return text
    if (key := ring.find(key_id)) is None:
        raise SecretsUnavailable(
            f"a secret was sealed with the key {key_id[:32]!r}, which this service does not have: give it "
            "back (see the settings under `secrets`), or set the secret anew",
            detail=place,
        )
    try:
        data = base64.urlsafe_b64decode(text.rpartition(":")[2])
        opened = AESGCM(key.secret).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound(key_id, place))
        return opened.decode()
    except (binascii.Error, ValueError, InvalidTag) as error:
        raise SecretsUnavailable(
            "a secret was altered in the database, or moved there from elsewhere; set it anew", detail=place
        ) from error


def _bound(key_id: str, place: str) -> bytes:
    return f"{_SCHEME}:{key_id}:{place}".encode()

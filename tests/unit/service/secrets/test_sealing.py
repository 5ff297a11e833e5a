"""Sealed texts: what opens, and what does not."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.errors import SecretsUnavailable
from emberbox.service.secrets.keys import Key, Keyring
from emberbox.service.secrets.sealing import key_of, seal, unseal

KEY, OLD = Key.new(), Key.new()
RING = Keyring((KEY, OLD))


@given(st.text(), st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_sealed_opens_at_its_place_alone(text: str, place: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    sealed = seal(KEY, text, place)
    assert unseal(RING, sealed, place) == text
    assert len(text) < 4 or text not in sealed
    with pytest.raises(SecretsUnavailable, match="moved there"):
        unseal(RING, sealed, f"{place}x")


def test_the_same_text_is_never_sealed_to_the_same() -> None:
    assert seal(KEY, "a", "b") != seal(KEY, "a", "b")


def test_old_keys_open_and_lost_ones_are_named() -> None:
    sealed = seal(OLD, "geheim", "here")
    assert key_of(sealed) == OLD.id
    assert unseal(RING, sealed, "here") == "geheim"
    with pytest.raises(SecretsUnavailable, match=OLD.id) as caught:
        unseal(Keyring((KEY,)), sealed, "here")
    assert "set the secret anew" in caught.value.message


def test_every_altered_byte_is_noticed() -> None:
    scheme, key_id, body = seal(KEY, "geheim", "here").split(":")
    data = base64.urlsafe_b64decode(body)
    for at in range(len(data)):
        altered = bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]])
        with pytest.raises(SecretsUnavailable, match="altered"):
            unseal(RING, f"{scheme}:{key_id}:{base64.urlsafe_b64encode(altered).decode()}", "here")


@pytest.mark.parametrize("rest", ["", ":", f"{KEY.id}", f"{KEY.id}:", f"{KEY.id}:!", f"{KEY.id}:AAAA", "x:ü"])
def test_what_was_broken_does_not_open(rest: str) -> None:
    with pytest.raises(SecretsUnavailable):
        unseal(RING, f"sealed1:{rest}", "here")


def test_what_an_earlier_release_wrote_in_the_clear_is_read() -> None:
    assert key_of("whsec_abc") is None
    assert unseal(RING, "whsec_abc", "here") == "whsec_abc"

"""Keys and their written form."""

from __future__ import annotations

import base64

import pytest

from emberbox.errors import SecretsUnavailable
from emberbox.service.secrets.keys import MOST_KEYS, Key, Keyring

TEXT = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.urlsafe_b64encode(b"\xff" * 32).decode()


def test_the_first_key_seals_and_the_others_are_known() -> None:
    ring = Keyring.parse(f"# a remark\n\n{TEXT}\r\n  {OTHER}  \n{TEXT}\n")
    assert [key.secret for key in ring.keys] == [bytes(range(32)), b"\xff" * 32]
    assert ring.current.secret == bytes(range(32))
    assert ring.find(ring.keys[1].id) == ring.keys[1]
    assert ring.find("nothing") is None


def test_a_ring_comes_through_its_text() -> None:
    ring = Keyring((Key.new(), Key.new()))
    assert Keyring.parse(ring.render()) == ring


@pytest.mark.parametrize("line", ["geheim", TEXT[:-4], TEXT + "AAAA", "ä" * 44, f"{TEXT} {TEXT}"])
def test_what_is_no_key_is_refused_and_not_told(line: str) -> None:
    with pytest.raises(SecretsUnavailable, match="32 random bytes") as caught:
        Keyring.parse(f"{TEXT}\n{line}\n")
    assert line not in caught.value.message


@pytest.mark.parametrize("text", ["", "# nothing\n", "\n".join([TEXT] * (MOST_KEYS + 1))])
def test_a_ring_has_some_keys_and_not_too_many(text: str) -> None:
    with pytest.raises(SecretsUnavailable, match="keys"):
        Keyring.parse(text)


def test_a_key_is_known_by_what_it_is_and_shows_nothing() -> None:
    key, other = Key.new(), Key.new()
    assert key.id == Key(key.secret).id != other.id
    assert key.secret.hex() not in f"{key!r} {key} {Keyring((key,))!r}"
    assert str(key) == key.id

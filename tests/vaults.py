"""Vaults for tests: the real one, whose keys are given instead of read."""

from __future__ import annotations

from emberbox.service.secrets.keys import Key, Keyring
from emberbox.service.secrets.vault import Vault


class Given:
    """A source whose keys a test changes; none at all make it fail as a lost file does."""

    cheap = True

    def __init__(self, *keys: Key) -> None:
        self.keys = keys

    def load(self) -> Keyring:
        return Keyring.parse(Keyring(self.keys).render())


def vault_with(*keys: Key) -> Vault:
    """Return a vault that has loaded these keys, or a new one where none is given."""
    vault = Vault(Given(*(keys or (Key.new(),))))
    vault.load()
    return vault

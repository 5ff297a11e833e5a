"""The vault: seals and unseals texts with the keys that are there now."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from emberbox.errors import SecretsUnavailable
from emberbox.service.secrets import sealing

if TYPE_CHECKING:
    from emberbox.service.secrets.keys import Keyring
    from emberbox.service.secrets.source import KeySource

_log = logging.getLogger(__name__)

REFRESH_S = 5.0
"""How often keys are read again, so that a rotation is noticed."""
COMMAND_S = 60.0
"""How often at most a command is run again, and only while there is something that could not be unsealed."""


class Vault:
    """Seals texts for their places, and unseals them. Safe to use from any thread.

    A vault without keys, or with others, fails where a secret is needed, and nowhere else.

    Args:
        source: Where the keys come from. They are read by `load`, and again while `run` runs.
    """

    def __init__(self, source: KeySource) -> None:
        self._source = source
        self._ring: Keyring | None = None
        self._problem = "the keys that seal secrets were not read yet; try again"
        self._missed = False

    @property
    def ring(self) -> Keyring:
        """The keys. Raises `SecretsUnavailable` where there are none, and says why."""
        if self._ring is None:
            raise SecretsUnavailable(self._problem)
        return self._ring

    def seal(self, text: str, place: str) -> str:
        """Return a text, sealed for a place. Raises `SecretsUnavailable` where there is no key."""
        return sealing.seal(self.ring.current, text, place)

    def unseal(self, text: str, place: str) -> str:
        """Return what was sealed for a place.

        Raises:
            SecretsUnavailable: It cannot be read with the keys that are there; the message says why, and what
                to do.
        """
        try:
            return text if sealing.key_of(text) is None else sealing.unseal(self.ring, text, place)
        except SecretsUnavailable:
            self._missed = True
            raise

    def load(self) -> None:
        """Read the keys again; blocks. Where that fails, those of before stay good, and it is logged."""
        try:
            self._ring, self._missed, self._problem = self._source.load(), False, ""
        except SecretsUnavailable as error:
            if error.message != self._problem:
                _log.warning("%s", error.message, extra={"action": "secrets.no_keys", "detail": error.detail})
            self._problem = error.message

    async def run(self) -> NoReturn:
        """Read the keys again from time to time, until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_S if self._source.cheap else COMMAND_S)
            if self._source.cheap or self._missed or self._ring is None:
                await asyncio.to_thread(self.load)

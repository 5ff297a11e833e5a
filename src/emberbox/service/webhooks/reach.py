"""Which addresses webhooks may call: those of the public internet, but for those of this host."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from emberbox.net.addresses import is_public, is_within, networks_of
from emberbox.net.interfaces import own_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from emberbox.config import WebhookSettings

_log = logging.getLogger(__name__)


class Reach:
    """Judges addresses, one after another, each by what this host has at that moment.

    Args:
        settings: `allow_private`, under which every address may be called, and `own_addresses`.
        own: Returns the addresses of this host; raises `OSError` when they cannot be had.
    """

    def __init__(
        self, settings: WebhookSettings, *, own: Callable[[], Collection[str]] = own_addresses
    ) -> None:
        self._allow_private = settings.allow_private
        self._named = networks_of(settings.own_addresses)
        self._own = own

    def allows(self, address: str) -> bool:
        """Return whether the address may be called.

        An IPv6 address that carries an IPv4 address of this host is the host's too. Where the host's
        addresses cannot be had, none may be called.
        """
        return self._allow_private or (is_public(address) and not self._is_own(address))

    def _is_own(self, address: str) -> bool:
        try:
            own = networks_of(",".join(self._own()))
        except OSError as error:
            _log.warning(
                "the addresses of this host cannot be read, so no webhook is called: %s",
                error,
                extra={"action": "webhooks.own_addresses_unknown"},
            )
            return True
        return is_within(address, [*own, *self._named])

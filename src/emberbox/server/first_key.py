"""The key that the first start makes, so that the service can be used at once and by its owner alone."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from emberbox.service.accounts.key_rows import MANAGING

if TYPE_CHECKING:
    from emberbox.service.accounts.keys import Keys
    from emberbox.service.folder import ServiceFolder

_log = logging.getLogger(__name__)

NAME = "first admin key"


async def ensure_admin_key(keys: Keys, folder: ServiceFolder, *, renew: bool = False) -> str | None:
    """Make a key that manages teams when there is none, and keep it in the data folder.

    A start that was killed between the two left a key that nobody knows: it is given another secret.

    Args:
        keys: Where keys are made.
        folder: Where the key is kept.
        renew: Make one in any case, for those who lost theirs.

    Returns:
        The secret when one was made, to be shown once; else None.
    """
    if not renew and await keys.has_operator():
        lost = await _lost_key(keys, folder)
        if lost is None:
            return None
        _, secret = await keys.rotate(lost)
    else:
        record, secret = await keys.create(NAME, MANAGING)
        _log.info("made an admin key", extra={"action": "keys.first", "key_id": record.id})
    folder.keep_admin_key(secret)
    return secret


async def _lost_key(keys: Keys, folder: ServiceFolder) -> str | None:
    if folder.admin_key() is not None:
        return None
    records, more = await keys.list(limit=2)
    lone = more is None and len(records) == 1 and records[0].name == NAME and records[0].last_used_at is None
    return records[0].id if lone else None

"""Idempotency-Keys: a request that comes twice makes one job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from emberbox.errors import IdempotencyMismatch
from emberbox.store.tables import idempotency

if TYPE_CHECKING:
    from sqlalchemy import Select

NAMED: Select[tuple[str, str, str]] = select(
    idempotency.c.idempotency_key, idempotency.c.request_hash, idempotency.c.job_id
).where(
    idempotency.c.key_id == bindparam("key_id"),
    idempotency.c.idempotency_key.in_(bindparam("idempotency_keys", expanding=True)),
)
"""The jobs for which `idempotency_keys` of the API key `key_id` stand, and what was asked for then."""


def check_same(earlier_hash: str, request_hash: str) -> None:
    """Raise `IdempotencyMismatch` unless an earlier request with the same key was the same one."""
    if earlier_hash != request_hash:
        raise IdempotencyMismatch(
            "this Idempotency-Key was used for another request; use a new one for each request"
        )

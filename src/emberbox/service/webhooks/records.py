"""Rows of webhooks and deliveries as plain values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRecord:
    """A row of `webhooks`, without its secret. Times are whole microseconds since the epoch."""

    id: str
    key_id: str
    url: str
    events: list[str]
    description: str
    active: bool
    created_at: int
    updated_at: int

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Return the record of a row of the table."""
        return cls(**{f.name: row[f.name] for f in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """A row of `deliveries`, without its secret.

    `history` holds `{attempt, at, status, duration_ms, error, response}`.
    """

    id: str
    key_id: str
    webhook_id: str | None
    job_id: str | None
    event: str
    url: str
    payload: str
    status: str
    history: list[dict[str, Any]]
    attempt: int
    next_at: int | None
    created_at: int
    finished_at: int | None

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Return the record of a row of the table."""
        return cls(**{f.name: row[f.name] for f in fields(cls)})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery that this process may attempt until its lease ends.

    `attempt` counts this one; its outcome is written only while that number stands in the row.
    """

    id: str
    key_id: str
    webhook_id: str | None
    event: str
    lane: str
    url: str
    secret: str
    payload: str
    attempt: int
    history: list[dict[str, Any]]

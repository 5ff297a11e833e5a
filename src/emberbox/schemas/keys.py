"""API keys, as they cross the wire."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  Pydantic looks at it when it runs
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from emberbox.schemas.base import Answer, Integer, Number, Request, plain


class Scope(StrEnum):
    """What a key may do. `admin` implies `run`, which implies `read`."""

    READ = "read"
    RUN = "run"
    ADMIN = "admin"


class KeyQuota(Request):
    """A key's own quotas, in place of those in the settings.

    Null leaves the settings' quota, 0 means no bound.
    """

    requests_per_s: Number | None = Field(default=None, ge=0, le=1e6)
    burst: Integer | None = Field(default=None, ge=0, le=1_000_000)
    concurrent_jobs: Integer | None = Field(default=None, ge=0, le=1_000_000)
    queued_jobs: Integer | None = Field(default=None, ge=0, le=1_000_000_000)
    storage_bytes: Integer | None = Field(default=None, ge=0, le=1 << 60)
    cpu_s_day: Number | None = Field(default=None, ge=0, le=1e9)


KeyName = Annotated[str, plain(200, 1)]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=3)]
ExpiresAt = Annotated[
    AwareDatetime | None,
    Field(description="When it ends, with its time zone; must lie ahead. Null for never."),
]


class CreateKey(Request):
    """A key to be made."""

    name: KeyName = Field(examples=["ci"])
    scopes: Scopes = Field(default_factory=lambda: [Scope.RUN], examples=[["run"]])
    expires_at: ExpiresAt = None
    quota: KeyQuota = Field(default_factory=KeyQuota)


class UpdateKey(Request):
    """Changes to a key; what is not given stays as it is. `quota` replaces the whole quota."""

    name: KeyName | None = None
    scopes: Scopes | None = None
    expires_at: ExpiresAt = None
    quota: KeyQuota | None = None


class RotateKey(Request):
    """How a key gets another secret."""

    grace_s: Number = Field(
        default=0, ge=0, le=604_800, description="Seconds for which the secret until now stays good."
    )


class Key(Answer):
    """An API key without its secret.

    `hint` is the secret's end; `scopes` are those granted, with those that they imply.
    """

    id: str
    name: str
    hint: str
    scopes: list[Scope]
    quota: dict[str, float]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class KeyWithSecret(Key):
    """A key as it was just made or rotated. `secret` is shown this once."""

    secret: str

"""API keys and the teams that they belong to, as they cross the wire."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  Pydantic looks at it when it runs
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from emberbox.bounds import GRACE_S
from emberbox.ids import id_pattern
from emberbox.schemas.base import Answer, Integer, Number, Request, plain


class Scope(StrEnum):
    """What a key may do. `admin` implies `run`, which implies `read`.

    These three are rights in the key's team. `operator` is for who runs the installation: it lets
    the others reach beyond the team, and implies `read`.
    """

    READ = "read"
    RUN = "run"
    ADMIN = "admin"
    OPERATOR = "operator"


class Running(StrEnum):
    """What becomes of the running jobs of a key that is revoked."""

    END = "end"
    KEEP = "keep"


class Quota(Request):
    """Quotas of a team or a key.

    A team's hold for all its keys together: null leaves the settings' quota, 0 means no bound. A
    key's hold on top of its team's: null and 0 leave the team's alone.
    """

    requests_per_s: Number | None = Field(default=None, ge=0, le=1e6)
    burst: Integer | None = Field(default=None, ge=0, le=1_000_000)
    concurrent_jobs: Integer | None = Field(default=None, ge=0, le=1_000_000)
    worker_share: Number | None = Field(default=None, gt=0, le=1, description="Of a team alone.")
    queued_jobs: Integer | None = Field(default=None, ge=0, le=1_000_000_000)
    queued_bytes: Integer | None = Field(default=None, ge=0, le=1 << 60)
    priority: Integer | None = Field(
        default=None, ge=0, le=10, description="Up to this, a priority counts against other teams' jobs."
    )
    storage_bytes: Integer | None = Field(default=None, ge=0, le=1 << 60)
    cpu_s_day: Number | None = Field(default=None, ge=0, le=1e9)
    followers: Integer | None = Field(default=None, ge=0, le=1_000_000)
    waits: Integer | None = Field(default=None, ge=0, le=1_000_000)
    open_bodies: Integer | None = Field(default=None, ge=0, le=1_000_000)
    body_bytes: Integer | None = Field(default=None, ge=0, le=1 << 60)


TeamId = Annotated[str, Field(pattern=f"^{id_pattern('team')}$")]
TeamName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
        description="Lower-case letters, digits and hyphens; no two teams have the same.",
        examples=["data"],
    ),
]
KeyName = Annotated[str, plain(200, 1)]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=4)]
ExpiresAt = Annotated[
    AwareDatetime | None,
    Field(description="When it ends, with its time zone; must lie ahead. Null for never."),
]


class CreateTeam(Request):
    """A team to be made."""

    name: TeamName
    quota: Quota = Field(default_factory=Quota)


class UpdateTeam(Request):
    """Changes to a team; what is not given stays as it is. `quota` replaces the whole quota."""

    name: TeamName | None = None
    quota: Quota | None = None


class Team(Answer):
    """A team. `quota` holds what differs from the settings."""

    id: str
    name: str
    quota: dict[str, float]
    created_at: datetime


class CreateKey(Request):
    """A key to be made."""

    name: KeyName = Field(examples=["ci"])
    scopes: Scopes = Field(default_factory=lambda: [Scope.RUN], examples=[["run"]])
    team_id: TeamId | None = Field(
        default=None, description="Another team's, as an operator; the caller's own if not given."
    )
    expires_at: ExpiresAt = None
    quota: Quota = Field(default_factory=Quota)


class UpdateKey(Request):
    """Changes to a key; what is not given stays as it is. `quota` replaces the whole quota."""

    name: KeyName | None = None
    scopes: Scopes | None = None
    expires_at: ExpiresAt = None
    quota: Quota | None = None


class RotateKey(Request):
    """How a key gets another secret."""

    grace_s: Number = Field(
        default=0,
        ge=GRACE_S.least,
        le=GRACE_S.most,
        description="Seconds for which the secret until now stays good.",
    )


class Key(Answer):
    """An API key without its secret.

    `hint` is the secret's end; `scopes` are those granted, with those that they imply.
    """

    id: str
    team_id: str
    name: str
    hint: str
    scopes: list[Scope]
    quota: dict[str, float]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    suspended_at: datetime | None = None
    revoked_at: datetime | None = None


class KeyWithSecret(Key):
    """A key as it was just made or rotated. `secret` is shown this once."""

    secret: str

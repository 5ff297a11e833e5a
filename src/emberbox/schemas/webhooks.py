"""Webhooks: how they are made, what is told of them, and what they send."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  Pydantic looks at it when it runs
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from emberbox.schemas.base import Answer, Request, Switch, plain
from emberbox.schemas.jobs import JobMetrics, JobStatus, JobTimes, Reason  # noqa: TC001  as above


class WebhookEvent(StrEnum):
    """What a webhook can ask for. `job.finished` is any end of a job, `*` everything."""

    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    JOB_TIMED_OUT = "job.timed_out"
    JOB_CANCELLED = "job.cancelled"
    JOB_LOST = "job.lost"
    JOB_COMPILE_FAILED = "job.compile_failed"
    JOB_FINISHED = "job.finished"
    WEBHOOK_TEST = "webhook.test"
    ALL = "*"


class DeliveryStatus(StrEnum):
    """The states of a delivery. `dead` ones are not tried again by themselves."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


WebhookUrl = Annotated[
    str, StringConstraints(min_length=8, max_length=2048, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://[^\x00-\x20]+$")
]
Description = Annotated[str, plain(500)]
Events = Annotated[list[WebhookEvent], Field(min_length=1, max_length=len(WebhookEvent))]


class CreateWebhook(Request):
    """A new webhook of the caller's key."""

    url: WebhookUrl = Field(description="Where deliveries are sent: http or https, without a user name.")
    events: Events = Field(default_factory=lambda: [WebhookEvent.JOB_FINISHED])
    description: Description = ""


class UpdateWebhook(Request):
    """Changes to a webhook. A field that is null stays as it is."""

    url: WebhookUrl | None = None
    events: Events | None = None
    description: Description | None = None
    active: Switch | None = Field(
        default=None, description="An inactive webhook gets no news; what is pending is given up."
    )


class Webhook(Answer):
    """A webhook. `active` is false when it was switched off, by its owner or by its receiver's `410 Gone`."""

    id: str
    url: str
    events: list[WebhookEvent]
    description: str
    active: bool
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(Webhook):
    """A webhook with the secret that signs its deliveries. The secret is shown this once."""

    secret: str


class DeliveryAttempt(Answer):
    """One attempt.

    `status` is null when there was no answer; `response` is the beginning of the answer's body.
    """

    attempt: int
    at: datetime
    status: int | None = None
    duration_ms: float
    error: str | None = None
    response: str | None = None


class Delivery(Answer):
    """News for one webhook, and how its delivery went. Lists leave out `payload`."""

    id: str
    webhook_id: str | None = Field(default=None, description="Null for a job's own webhook.")
    job_id: str | None = None
    event: str
    url: str
    status: DeliveryStatus
    attempts: list[DeliveryAttempt]
    next_attempt_at: datetime | None = None
    created_at: datetime
    finished_at: datetime | None = None
    payload: dict[str, Any] | None = None


class EventJob(Answer):
    """The job that an event is about: no output, no arguments, no environment."""

    id: str
    script_id: str | None = None
    rerun_of: str | None = None
    name: str | None = None
    runtime: str
    status: JobStatus
    reason: Reason | None = None
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    attempt: int
    labels: dict[str, str]
    times: JobTimes
    metrics: JobMetrics | None = None
    stdout_bytes: int
    stderr_bytes: int


class EventData(Answer):
    """What an event carries. `job` is null for `webhook.test`."""

    job: EventJob | None = None
    webhook_id: str | None = None


class Event(Answer):
    """The body of a delivery. `id` is the delivery's: the same news sent twice has the same one."""

    id: str
    version: int
    event: str
    created_at: datetime
    data: EventData

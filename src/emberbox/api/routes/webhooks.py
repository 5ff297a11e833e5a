"""Webhooks: who is told of what, and how its delivery went."""

import json
from typing import Annotated

from fastapi import APIRouter, Query, Response

from emberbox.api.auth import Reader, Runner
from emberbox.api.parts import WebhooksPart
from emberbox.api.requests import Limit, Responses, TeamFilter, cursor_of, identifier, location
from emberbox.api.views import answer, moment, moment_or_none, page, shown
from emberbox.schemas.base import Page
from emberbox.schemas.webhooks import (
    CreateWebhook,
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    UpdateWebhook,
    Webhook,
    WebhookEvent,
    WebhookWithSecret,
)
from emberbox.store.records import DeliveryRecord, WebhookRecord

router = APIRouter(tags=["webhooks"])

WebhookId = Annotated[str, identifier("webhook", "whk")]
DeliveryId = Annotated[str, identifier("delivery", "dlv")]
WebhookCursor = Annotated[str | None, cursor_of("whk")]
DeliveryCursor = Annotated[str | None, cursor_of("dlv")]

_LOCATION = location("Where it is found.")
_MADE: Responses = {
    201: {"model": WebhookWithSecret, "description": "The webhook is there.", "headers": _LOCATION}
}
_QUEUED: Responses = {
    202: {"model": Delivery, "description": "The delivery will be attempted.", "headers": _LOCATION}
}


@router.post(
    "/v1/webhooks",
    status_code=201,
    response_model=WebhookWithSecret,
    responses=_MADE,
    summary="Create a webhook",
)
async def create_webhook(body: CreateWebhook, key: Runner, webhooks: WebhooksPart) -> Response:
    """Ask to be told of the team's jobs. The answer holds the secret that signs the deliveries, this once."""
    record, secret = await webhooks.create(
        key, url=body.url, events=body.events, description=body.description
    )
    return answer(_with_secret(record, secret), 201, {"Location": f"/v1/webhooks/{record.id}"})


@router.get("/v1/webhooks", response_model=Page[Webhook], summary="List webhooks")
async def list_webhooks(
    key: Reader,
    webhooks: WebhooksPart,
    team: TeamFilter = None,
    cursor: WebhookCursor = None,
    limit: Limit = 50,
) -> Response:
    """List the team's webhooks, newest first."""
    records, following = await webhooks.list(key, team=team, cursor=cursor, limit=limit)
    return page(Page[Webhook], [_webhook(record) for record in records], following)


@router.get("/v1/webhooks/{webhook_id}", response_model=Webhook, summary="Look at a webhook")
async def get_webhook(webhook_id: WebhookId, key: Reader, webhooks: WebhooksPart) -> Response:
    """Return one webhook, without its secret."""
    return answer(_webhook(await webhooks.get(key, webhook_id)))


@router.patch("/v1/webhooks/{webhook_id}", response_model=Webhook, summary="Change a webhook")
async def update_webhook(
    webhook_id: WebhookId, body: UpdateWebhook, key: Runner, webhooks: WebhooksPart
) -> Response:
    """Change the values that are given. The change holds for pending deliveries as well."""
    record = await webhooks.update(
        key, webhook_id, url=body.url, events=body.events, description=body.description, active=body.active
    )
    return answer(_webhook(record))


@router.delete("/v1/webhooks/{webhook_id}", status_code=204, summary="Delete a webhook")
async def delete_webhook(webhook_id: WebhookId, key: Runner, webhooks: WebhooksPart) -> None:
    """Delete a webhook with its deliveries; pending ones are not made."""
    await webhooks.delete(key, webhook_id)


@router.post(
    "/v1/webhooks/{webhook_id}/rotate",
    response_model=WebhookWithSecret,
    summary="Give a webhook a new secret",
)
async def rotate_webhook(webhook_id: WebhookId, key: Runner, webhooks: WebhooksPart) -> Response:
    """Replace the secret. Every attempt from now on is signed with the new one, which is shown this once."""
    record, secret = await webhooks.rotate(key, webhook_id)
    return answer(_with_secret(record, secret))


@router.post(
    "/v1/webhooks/{webhook_id}/test",
    status_code=202,
    response_model=Delivery,
    responses=_QUEUED,
    summary="Test a webhook",
)
async def test_webhook(webhook_id: WebhookId, key: Runner, webhooks: WebhooksPart) -> Response:
    """Send a `webhook.test`; look at the delivery to see how it went."""
    return _queued(await webhooks.test(key, webhook_id))


@router.get(
    "/v1/webhooks/{webhook_id}/deliveries",
    response_model=Page[Delivery],
    summary="List a webhook's deliveries",
)
async def list_webhook_deliveries(
    webhook_id: WebhookId,
    key: Reader,
    webhooks: WebhooksPart,
    cursor: DeliveryCursor = None,
    limit: Limit = 50,
    status: DeliveryStatus | None = None,
) -> Response:
    """List the deliveries of one webhook, newest first, with their attempts."""
    records, following = await webhooks.deliveries(
        key, webhook_id=webhook_id, status=status, cursor=cursor, limit=limit
    )
    return _delivery_page(records, following)


@router.get("/v1/deliveries", response_model=Page[Delivery], summary="List deliveries")
async def list_deliveries(
    key: Reader,
    webhooks: WebhooksPart,
    cursor: DeliveryCursor = None,
    limit: Limit = 50,
    status: DeliveryStatus | None = None,
    job_id: Annotated[str | None, Query(max_length=64, description="About this job alone.")] = None,
) -> Response:
    """List all deliveries of this key, newest first; also those of webhooks that were given with a job."""
    records, following = await webhooks.deliveries(
        key, job_id=job_id, status=status, cursor=cursor, limit=limit
    )
    return _delivery_page(records, following)


@router.get("/v1/deliveries/{delivery_id}", response_model=Delivery, summary="Look at a delivery")
async def get_delivery(delivery_id: DeliveryId, key: Reader, webhooks: WebhooksPart) -> Response:
    """Return one delivery with its attempts and its payload."""
    return answer(_delivery(await webhooks.delivery(key, delivery_id), payload=True))


@router.post(
    "/v1/deliveries/{delivery_id}/retry",
    status_code=202,
    response_model=Delivery,
    responses=_QUEUED,
    summary="Deliver once more",
)
async def retry_delivery(delivery_id: DeliveryId, key: Runner, webhooks: WebhooksPart) -> Response:
    """Deliver again what was delivered, or is dead: the same payload under the same id."""
    return _queued(await webhooks.retry(key, delivery_id))


def _queued(record: DeliveryRecord) -> Response:
    return answer(_delivery(record, payload=True), 202, {"Location": f"/v1/deliveries/{record.id}"})


def _delivery_page(records: list[DeliveryRecord], following: str | None) -> Response:
    return page(Page[Delivery], [_delivery(record) for record in records], following)


def _webhook(record: WebhookRecord) -> Webhook:
    return shown(Webhook, record, events=_events(record))


def _with_secret(record: WebhookRecord, secret: str) -> WebhookWithSecret:
    return shown(WebhookWithSecret, record, events=_events(record), secret=secret)


def _events(record: WebhookRecord) -> list[WebhookEvent]:
    return [WebhookEvent(event) for event in record.events]


def _delivery(record: DeliveryRecord, *, payload: bool = False) -> Delivery:
    return shown(
        Delivery,
        record,
        status=DeliveryStatus(record.status),
        attempts=[
            DeliveryAttempt.model_validate({**entry, "at": moment(entry["at"])}) for entry in record.history
        ],
        next_attempt_at=moment_or_none(record.next_at),
        payload=json.loads(record.payload) if payload else None,
    )

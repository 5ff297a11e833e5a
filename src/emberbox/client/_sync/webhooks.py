# Written by scripts/sync_client.py from _async/webhooks.py; change that instead.
"""Webhooks: addresses that are told of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emberbox.client._sync.transport import Part
from emberbox.client.paths import path_of
from emberbox.schemas.webhooks import Delivery, DeliveryStatus, Webhook, WebhookEvent, WebhookWithSecret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Webhooks(Part):
    """The webhooks of this key's team: `client.webhooks`."""

    def create(
        self, url: str, events: Sequence[WebhookEvent | str] | None = None, *, description: str = ""
    ) -> WebhookWithSecret:
        """Add a webhook; its `secret` is shown this once.

        Args:
            url: Where deliveries are sent.
            events: See `WebhookEvent`; None for every job's end.
            description: For people.
        """
        body: dict[str, Any] = {"url": url, "description": description}
        if events is not None:
            body["events"] = [str(event) for event in events]
        return self._transport.post(WebhookWithSecret, "/v1/webhooks", body)

    def list(self, *, team: str | None = None, limit: int | None = None) -> Iterator[Webhook]:
        """Yield webhooks, newest first. `team` is as of `jobs.list`."""
        return self._transport.pages(Webhook, "/v1/webhooks", limit=limit, team=team)

    def get(self, webhook_id: str) -> Webhook:
        """Return a webhook. Raises `NotFound`."""
        return self._transport.get(Webhook, path_of("webhooks", webhook_id))

    def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[WebhookEvent | str] | None = None,
        description: str | None = None,
        active: bool | None = None,
    ) -> Webhook:
        """Change a webhook; what is None stays. Raises `NotFound`."""
        named = None if events is None else [str(event) for event in events]
        body = {"url": url, "events": named, "description": description, "active": active}
        wanted = {name: value for name, value in body.items() if value is not None}
        return self._transport.send(Webhook, "PATCH", path_of("webhooks", webhook_id), wanted)

    def delete(self, webhook_id: str) -> None:
        """Delete a webhook; what was to be delivered is given up. Raises `NotFound`."""
        self._transport.request("DELETE", path_of("webhooks", webhook_id))

    def rotate(self, webhook_id: str) -> WebhookWithSecret:
        """Give a webhook another `secret`, which is shown this once. Raises `NotFound`."""
        return self._transport.post(WebhookWithSecret, path_of("webhooks", webhook_id, "rotate"))

    def test(self, webhook_id: str) -> Delivery:
        """Send a delivery of event `webhook.test`; `delivery` tells later how it went. Raises `NotFound`."""
        return self._transport.post(Delivery, path_of("webhooks", webhook_id, "test"))

    def deliveries(
        self,
        webhook_id: str | None = None,
        *,
        status: DeliveryStatus | str | None = None,
        limit: int | None = None,
    ) -> Iterator[Delivery]:
        """Yield what was sent, or is to be, newest first; of all webhooks when none is named.

        Raises `NotFound`.
        """
        path = "/v1/deliveries" if webhook_id is None else path_of("webhooks", webhook_id, "deliveries")
        return self._transport.pages(
            Delivery, path, limit=limit, status=None if status is None else str(status)
        )

    def delivery(self, delivery_id: str) -> Delivery:
        """Return a delivery with its attempts and its payload. Raises `NotFound`."""
        return self._transport.get(Delivery, path_of("deliveries", delivery_id))

    def retry(self, delivery_id: str) -> Delivery:
        """Send a delivery once more. Raises `NotFound`."""
        return self._transport.post(Delivery, path_of("deliveries", delivery_id, "retry"))

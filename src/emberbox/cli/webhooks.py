"""`emberbox webhooks`: addresses that a server tells of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import remote
from emberbox.cli.failures import say

if TYPE_CHECKING:
    from emberbox.client import AsyncClient
    from emberbox.schemas.webhooks import Delivery, Webhook

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id.", show_default=False)]
Events = Annotated[
    list[str] | None, typer.Option("--event", metavar="NAME", help="job.finished, job.failed, …, or *; may be repeated.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    commands = (
        ("create", create),
        ("list", show),
        ("update", update),
        ("rotate", rotate),
        ("delete", delete),
        ("test", test),
        ("deliveries", deliveries),
        ("retry", retry),
    )
    remote.group(app, "webhooks", "Have a server tell an address of your jobs.", *commands)


def create(
    ctx: typer.Context,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where news is sent.", show_default=False)],
    events: Events = None,
    description: Annotated[str, typer.Option("--description", metavar="TEXT", help="For people.")] = "",
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Add a webhook. The secret that signs its deliveries is shown this once."""

    async def work(client: AsyncClient) -> None:
        made = await client.webhooks.create(url, events, description=description)
        fields = (("id", made.id), ("url", made.url), ("events", " ".join(made.events)), ("secret", made.secret))
        remote.print_one(json, made, fields)

    return remote.call(ctx, server, profile, work)


def show(
    ctx: typer.Context,
    limit: remote.Limit = remote.LISTED,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """List webhooks, newest first."""

    async def work(client: AsyncClient) -> None:
        found = await remote.take(client.webhooks.list(limit=remote.bound(limit)))
        remote.print_list(json, found, ("ID", "URL", "EVENTS", "ACTIVE", "DESCRIPTION"), _row)
        if not found and not json:
            say("there are no webhooks; add one with: emberbox webhooks create URL")

    return remote.call(ctx, server, profile, work)


def _row(webhook: Webhook) -> tuple[str, ...]:
    return webhook.id, webhook.url, " ".join(webhook.events), "yes" if webhook.active else "no", webhook.description


def update(
    ctx: typer.Context,
    webhook_id: WebhookId,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Where news is sent.")] = None,
    events: Events = None,
    description: Annotated[str | None, typer.Option("--description", metavar="TEXT", help="For people.")] = None,
    active: Annotated[bool | None, typer.Option("--on/--off", help="Switch it.")] = None,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Change a webhook; what is left out stays."""

    async def work(client: AsyncClient) -> None:
        changed = await client.webhooks.update(webhook_id, url=url, events=events, description=description, active=active)
        remote.print_list(False, [changed], ("ID", "URL", "EVENTS", "ACTIVE", "DESCRIPTION"), _row) if not json else (
            remote.print_one(json, changed, ())
        )

    return remote.call(ctx, server, profile, work)


def rotate(
    ctx: typer.Context,
    webhook_id: WebhookId,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Give a webhook another secret, which is shown this once."""

    async def work(client: AsyncClient) -> None:
        changed = await client.webhooks.rotate(webhook_id)
        remote.print_one(json, changed, (("id", changed.id), ("secret", changed.secret)))

    return remote.call(ctx, server, profile, work)


def delete(ctx: typer.Context, webhook_id: WebhookId, server: remote.Server = None, profile: remote.ProfileName = None) -> int:
    """Delete a webhook with its deliveries."""

    async def work(client: AsyncClient) -> None:
        await client.webhooks.delete(webhook_id)

    return remote.call(ctx, server, profile, work)


def test(
    ctx: typer.Context,
    webhook_id: WebhookId,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Have a test delivery sent; emberbox webhooks deliveries ID tells how it went."""

    async def work(client: AsyncClient) -> None:
        sent = await client.webhooks.test(webhook_id)
        remote.print_one(json, sent, (("id", sent.id), ("status", sent.status.value)))

    return remote.call(ctx, server, profile, work)


def deliveries(
    ctx: typer.Context,
    webhook_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The webhook's id; all where left out.", show_default=False)
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", "-s", metavar="STATUS", help="Only pending, delivered or dead.")
    ] = None,
    limit: remote.Limit = remote.LISTED,
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """List what was sent, newest first, and how it went."""

    async def work(client: AsyncClient) -> None:
        found = await remote.take(client.webhooks.deliveries(webhook_id, status=status, limit=remote.bound(limit)))
        remote.print_list(json, found, ("ID", "EVENT", "JOB", "STATUS", "TRIES", "LAST", "CREATED"), _delivery, right=("TRIES",))

    return remote.call(ctx, server, profile, work)


def _delivery(delivery: Delivery) -> tuple[str, ...]:
    last = delivery.attempts[-1] if delivery.attempts else None
    how = "-" if last is None else str(last.status) if last.status is not None else last.error or "no answer"
    return (
        delivery.id, delivery.event, delivery.job_id or "-", delivery.status.value, str(len(delivery.attempts)), how,
        remote.moment(delivery.created_at),
    )  # fmt: skip


def retry(
    ctx: typer.Context,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="The delivery's id.", show_default=False)],
    json: remote.Json = False,
    server: remote.Server = None,
    profile: remote.ProfileName = None,
) -> int:
    """Send a delivery once more."""

    async def work(client: AsyncClient) -> None:
        sent = await client.webhooks.retry(delivery_id)
        remote.print_one(json, sent, (("id", sent.id), ("status", sent.status.value)))

    return remote.call(ctx, server, profile, work)

"""`emberbox webhooks`: addresses that a server tells of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from emberbox.cli.commands import argument, group, option
from emberbox.cli.remote.remote import LISTED, Limit, Remote, TeamFilter, command, identifier
from emberbox.cli.tables import moment

if TYPE_CHECKING:
    import typer

    from emberbox.schemas.webhooks import Delivery, Webhook

WebhookId = Annotated[str, identifier("webhook")]
Events = Annotated[
    list[str] | None,
    option("--event", "job.finished, job.failed, …, or *; may be repeated.", "NAME"),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    text = "Have a server tell an address of your jobs."
    group(app, "webhooks", text, create, list_, update, rotate, delete, test, deliveries, retry)


@command()
async def create(
    there: Remote,
    url: Annotated[str, argument("URL", "Where news is sent.")],
    events: Events = None,
    description: Annotated[str, option("--description", "For people.", "TEXT")] = "",
) -> None:
    """Add a webhook. The secret that signs its deliveries is shown this once."""
    made = await there.client.webhooks.create(url, events, description=description)
    told = (("id", made.id), ("url", made.url), ("events", " ".join(made.events)), ("secret", made.secret))
    there.print_one(made, told)


@command()
async def list_(there: Remote, team: TeamFilter = None, limit: Limit = LISTED) -> None:
    """List webhooks, newest first."""
    nothing = "there are no webhooks; add one with: emberbox webhooks create URL"
    found = there.client.webhooks.list(team=team, limit=limit or None)
    await there.print_list(found, _COLUMNS, _row, nothing=nothing)


_COLUMNS = ("ID", "URL", "EVENTS", "ACTIVE", "DESCRIPTION")


def _row(webhook: Webhook) -> tuple[str, ...]:
    return (
        webhook.id,
        webhook.url,
        " ".join(webhook.events),
        "yes" if webhook.active else "no",
        webhook.description,
    )


@command()
async def update(
    there: Remote,
    webhook_id: WebhookId,
    url: Annotated[str | None, option("--url", "Where news is sent.", "URL")] = None,
    events: Events = None,
    description: Annotated[str | None, option("--description", "For people.", "TEXT")] = None,
    active: Annotated[bool | None, option("--on/--off", "Switch it.")] = None,
) -> None:
    """Change a webhook; what is left out stays."""
    changes: dict[str, Any] = {"url": url, "events": events, "description": description, "active": active}
    changed = await there.client.webhooks.update(webhook_id, **changes)
    if there.json:
        there.print_one(changed, ())
    else:
        await there.print_list([changed], _COLUMNS, _row)


@command()
async def rotate(there: Remote, webhook_id: WebhookId) -> None:
    """Give a webhook another secret, which is shown this once."""
    changed = await there.client.webhooks.rotate(webhook_id)
    there.print_one(changed, (("id", changed.id), ("secret", changed.secret)))


@command(json=None)
async def delete(there: Remote, webhook_id: WebhookId) -> None:
    """Delete a webhook with its deliveries."""
    await there.client.webhooks.delete(webhook_id)


@command()
async def test(there: Remote, webhook_id: WebhookId) -> None:
    """Have a test delivery sent; emberbox webhooks deliveries ID tells how it went."""
    _print_sent(there, await there.client.webhooks.test(webhook_id))


def _print_sent(there: Remote, sent: Delivery) -> None:
    there.print_one(sent, (("id", sent.id), ("status", sent.status.value)))


@command()
async def deliveries(
    there: Remote,
    webhook_id: Annotated[str | None, argument("[ID]", "The webhook's id; all where left out.")] = None,
    status: Annotated[str | None, option("--status -s", "Only pending, delivered or dead.", "STATUS")] = None,
    limit: Limit = LISTED,
) -> None:
    """List what was sent, newest first, and how it went."""
    sent = there.client.webhooks.deliveries(webhook_id, status=status, limit=limit or None)
    columns = ("ID", "EVENT", "JOB", "STATUS", "TRIES", "LAST", "CREATED")
    await there.print_list(sent, columns, _delivery, right=("TRIES",))


def _delivery(delivery: Delivery) -> tuple[str, ...]:
    last = delivery.attempts[-1] if delivery.attempts else None
    how = "-" if last is None else str(last.status) if last.status is not None else last.error or "no answer"
    tries, created = str(len(delivery.attempts)), moment(delivery.created_at)
    return delivery.id, delivery.event, delivery.job_id or "-", delivery.status.value, tries, how, created


@command()
async def retry(
    there: Remote,
    delivery_id: Annotated[str, argument("DELIVERY", "The delivery's id.")],
) -> None:
    """Send a delivery once more."""
    _print_sent(there, await there.client.webhooks.retry(delivery_id))

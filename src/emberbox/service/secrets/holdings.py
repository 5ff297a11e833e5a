"""Which rows hold sealed texts, and how they are read and written there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emberbox.service.secrets import places
from emberbox.store.tables import deliveries, jobs, webhooks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Column, ColumnElement, Table

Texts = dict[str, str]
"""The texts of a row, by the places that they are sealed for. They may be plain still."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A column with sealed texts.

    Args:
        what: What its rows are, for people.
        table: Its table, which has a column `id`.
        column: The column.
        where: Which rows may hold any.
        read: Returns the texts of a row, which has all columns of the table.
        write: Returns the column's value with other texts at the same places.
    """

    what: str
    table: Table
    column: Column[Any]
    where: ColumnElement[bool]
    read: Callable[[Mapping[str, Any]], Texts]
    write: Callable[[Mapping[str, Any], Texts], Any]


def _webhook(row: Mapping[str, Any]) -> Texts:
    return {places.webhook_secret(row["id"]): row["secret"]}


def _job_webhook(row: Mapping[str, Any]) -> Texts:
    secret = (row["webhook"] or {}).get("secret")
    return {places.job_webhook(row["id"]): secret} if secret else {}


def _job_variables(row: Mapping[str, Any]) -> Texts:
    return {places.job_variable(row["id"], name): text for name, text in (row["sealed_env"] or {}).items()}


def _delivery(row: Mapping[str, Any]) -> Texts:
    return {places.job_webhook(row["job_id"]): row["secret"]}


def _lone(row: Mapping[str, Any], texts: Texts) -> str:
    return next(iter(texts.values()))


HOLDINGS = (
    Holding("webhooks", webhooks, webhooks.c.secret, webhooks.c.secret != "", _webhook, _lone),
    Holding(
        "jobs' webhooks",
        jobs,
        jobs.c.webhook,
        jobs.c.webhook.is_not(None),
        _job_webhook,
        lambda row, texts: {**row["webhook"], "secret": _lone(row, texts)},
    ),
    Holding(
        "jobs' secret variables",
        jobs,
        jobs.c.sealed_env,
        jobs.c.sealed_env.is_not(None),
        _job_variables,
        lambda row, texts: {name: texts[places.job_variable(row["id"], name)] for name in row["sealed_env"]},
    ),
    Holding("deliveries", deliveries, deliveries.c.secret, deliveries.c.secret != "", _delivery, _lone),
)
"""All of them. A part that keeps secrets adds its column here."""

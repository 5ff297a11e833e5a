"""The commands that speak to a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.cli import jobs, keys, login, logs, scripts, status, submit, usage, webhooks

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add them all."""
    for module in (submit, scripts, jobs, logs, keys, webhooks, usage, status, login):
        module.register(app)

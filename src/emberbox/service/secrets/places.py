"""Places of sealed texts: each is sealed for its own, and opens nowhere else."""

from __future__ import annotations


def webhook_secret(webhook_id: str) -> str:
    """Return the place of the secret that signs a webhook's deliveries."""
    return f"webhooks/{webhook_id}/secret"


def job_webhook(job_id: str) -> str:
    """Return the place of the secret that signs the delivery of a job's own webhook, also in the outbox."""
    return f"jobs/{job_id}/webhook"


def job_variable(job_id: str, name: str) -> str:
    """Return the place of the value of a job's secret variable."""
    return f"jobs/{job_id}/env/{name}"

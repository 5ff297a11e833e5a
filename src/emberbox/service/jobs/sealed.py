"""The secrets of a job: sealed in its row, opened for its run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from emberbox.service.secrets import places

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.model import RunOptions
    from emberbox.service.secrets.vault import Vault
    from emberbox.store.records import JobRecord


def sealed_columns(
    vault: Vault, job_id: str, options: RunOptions, webhook: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the columns of a job's row that hold secrets. Raises `SecretsUnavailable` where there is no key.

    Args:
        vault: Seals them; it is not asked for a job without secrets.
        job_id: The job's, for which they are sealed.
        options: How it is run.
        webhook: Its own webhook; None without.
    """
    variables = {
        name: vault.seal(value, places.job_variable(job_id, name))
        for name, value in options.secret_env.items()
    }
    if webhook is not None and (secret := webhook.get("secret")):
        webhook = {**webhook, "secret": vault.seal(secret, places.job_webhook(job_id))}
    return {"sealed_env": variables or None, "webhook": webhook}


def opened_options(vault: Vault, job: JobRecord) -> RunOptions:
    """Return how a job is run, with its secret variables. Raises `SecretsUnavailable`."""
    variables = {
        name: vault.unseal(text, places.job_variable(job.id, name))
        for name, text in (job.sealed_env or {}).items()
    }
    return replace(job.spec.options, secret_env=variables)


def opened_webhook(vault: Vault, job: JobRecord) -> dict[str, Any] | None:
    """Return a job's own webhook with its secret; None without. Raises `SecretsUnavailable`."""
    if job.webhook is None or not (secret := job.webhook.get("secret")):
        return job.webhook
    return {**job.webhook, "secret": vault.unseal(secret, places.job_webhook(job.id))}

"""News of jobs, sent to whoever asked for it."""

from emberbox.jobs.webhooks.dispatcher import Dispatcher
from emberbox.jobs.webhooks.registry import Webhooks
from emberbox.jobs.webhooks.targets import check_url

__all__ = ["Dispatcher", "Webhooks", "check_url"]

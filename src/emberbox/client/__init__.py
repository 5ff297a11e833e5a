"""The SDK of the service.

`AsyncClient` for asynchronous code, `Client` for code that blocks: the same names, written from one source.
"""

from __future__ import annotations

from emberbox.client._async.client import AsyncClient
from emberbox.client._sync.client import Client
from emberbox.client.log_events import AttemptBegan, JobEnded, JobProgress
from emberbox.client.orders import JobParameters

__all__ = ["AsyncClient", "AttemptBegan", "Client", "JobEnded", "JobParameters", "JobProgress"]

# Written by scripts/sync_client.py from _async/client.py; change that instead.
"""The client: one object for everything that a server offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from emberbox.client._sync.jobs import Jobs
from emberbox.client._sync.keys import Keys
from emberbox.client._sync.machines import Machines
from emberbox.client._sync.scripts import Scripts
from emberbox.client._sync.teams import Teams
from emberbox.client._sync.transport import Transport
from emberbox.client._sync.webhooks import Webhooks
from emberbox.client.paths import path_of
from emberbox.client.places import find_place
from emberbox.client.retries import RetryPolicy
from emberbox.schemas.keys import Key
from emberbox.schemas.runtimes import RuntimeInfo
from emberbox.schemas.system import Node, Pool, PoolChanged, Pools
from emberbox.schemas.usage import UsageReport

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path
    from types import TracebackType
    from typing import Unpack

    import httpx

    from emberbox.client.orders import Content, JobParameters
    from emberbox.schemas.jobs import Job

TIMEOUT_S = 30.0


class Client:
    """A server and what can be asked of it.

    Where the server and the key come from when they are not given is told at
    `emberbox.client.places.find_place`. Use it as a context manager, or call `close`. One client
    may be used by many tasks at once.

    Args:
        server: Address of the server (`http://127.0.0.1:8470`).
        api_key: The key.
        profile: Name of a saved profile to use.
        data: Data folder of a service on this machine, to find it by; None for that of the settings.
        timeout_s: Longest silence of the server in seconds, besides what it was asked to wait.
        retries: How often a request is repeated that failed for a passing reason and may be carried
            out twice without harm.
        network: How requests travel, for tests; None for the network.

    Raises:
        InvalidInput: The address or the key cannot be one, or there is no such profile.
        InvalidSettings: The settings or the saved profiles have a mistake.
    """

    def __init__(
        self,
        server: str | None = None,
        api_key: str | None = None,
        *,
        profile: str | None = None,
        data: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        retries: int = 4,
        network: httpx.BaseTransport | None = None,
    ) -> None:
        self.place = find_place(server, api_key, profile=profile, data=data)
        policy = RetryPolicy(retries=retries)
        self._transport = Transport(self.place, timeout_s=timeout_s, policy=policy, network=network)
        self.jobs = Jobs(self._transport)
        self.scripts = Scripts(self._transport, self.jobs)
        self.teams = Teams(self._transport)
        self.keys = Keys(self._transport)
        self.webhooks = Webhooks(self._transport)
        self.machines = Machines(self._transport)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.place.server}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Safe to repeat."""
        self._transport.close()

    def run(
        self,
        code: Content | None = None,
        *,
        runtime: str | None = None,
        entry: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[JobParameters],
    ) -> Job:
        """Run code, wait until it has ended, and return the job with `stdout`, `stderr` and `exit_code`.

        A program that fails is a job that failed, and no exception. The arguments are those of `jobs.submit`.
        """
        return self.jobs.submit(
            code, runtime=runtime, entry=entry, wait=True, idempotency_key=idempotency_key, **options
        )

    def usage(
        self, since: date | None = None, until: date | None = None, *, team: str | None = None
    ) -> UsageReport:
        """Return what was used by day, both days included.

        Args:
            since: First day (UTC); None for 29 days before `until`.
            until: Last day; None for today.
            team: Id of another team, or `all`, which needs the scope `operator`; None for this key's.
        """
        return self._transport.get(
            UsageReport,
            "/v1/usage",
            since=since and since.isoformat(),
            until=until and until.isoformat(),
            team=team,
        )

    def node(self) -> Node:
        """Return the state of the service and of its machine. Needs the scope `operator`."""
        return self._transport.get(Node, "/v1/node")

    def pools(self) -> list[Pool]:
        """Return what is kept ready. Needs the scope `operator`."""
        return (self._transport.get(Pools, "/v1/pools")).items

    def keep_ready(self, runtime: str, ready: int, *, wait_s: float = 0.0) -> PoolChanged:
        """Have `ready` VMs of a runtime kept ready; 0 leaves it to demand.

        Needs the scopes `operator` and `admin`.

        Args:
            runtime: Name or alias.
            ready: How many.
            wait_s: How long to wait for them, in seconds.
        """
        path, body = path_of("pools", runtime), {"ready": ready, "wait_s": wait_s}
        return self._transport.send(PoolChanged, "PUT", path, body, wait_s=wait_s)

    def runtimes(self) -> list[RuntimeInfo]:
        """Return the languages that can be run, by name."""
        return list(self._transport.pages(RuntimeInfo, "/v1/runtimes"))

    def me(self) -> Key:
        """Return the key in use, without its secret."""
        return self._transport.get(Key, "/v1/me")

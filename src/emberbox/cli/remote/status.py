"""`emberbox status`: how a server is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli.remote.remote import Remote, as_json, command
from emberbox.cli.tables import moment, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.schemas.system import Node, Pool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


@command()
async def status(there: Remote) -> None:
    """Show the state of a server: its machine, its queue, its workers, and what it keeps ready.

    Needs a key with the scope operator.
    """
    from emberbox.cli.tables import print_json

    place, node, pools = there.client.place, await there.client.node(), await there.client.pools()
    if there.json:
        kept = [as_json(pool) for pool in pools]
        print_json({"server": place.server, "node": as_json(node), "pools": kept})
        return
    there.print_one(node, (("server", f"{place.server} ({place.source})"), *_fields(node)))
    columns = ("RUNTIME", "MEMORY", "CPUS", "READY", "WANTED", "CLAIMS", "MISSES", "FAILURES", "STANDBY")
    await there.print_list(pools, columns, _row, right=columns[1:])


def _fields(node: Node) -> Iterator[tuple[str, object]]:
    driver, capacity, queue = node.driver, node.capacity, node.queue
    limit = "" if capacity.machines_limit is None else f" of {capacity.machines_limit}"
    promised = (
        f"{size(capacity.machines_memory_bytes)} of {size(capacity.machines_memory_limit_bytes)} memory"
    )
    processors = f"on {capacity.processors} processors, load {capacity.load_1m:.1f}"
    memory = f"{size(capacity.memory_available_bytes)} of {size(capacity.memory_total_bytes)} memory"
    disk = f"{size(capacity.disk_free_bytes)} of {size(capacity.disk_total_bytes)} disk"
    yield from {
        "state": node.state,
        "version": node.version,
        "up since": moment(node.started_at),
        "database": node.database,
        "machines run on": f"{driver.accelerator or 'nothing that confines'}: {driver.reason}",
        "to mend it": driver.mend,
        "runtimes": " ".join(node.runtimes),
        "machines": f"{capacity.machines}{limit}, {promised}, {processors}",
        "free": f"{memory}, {disk}",
        "jobs": f"{queue.queued} queued (the oldest for {queue.age_s:.1f} s), {queue.running} running",
    }.items()
    for worker in node.workers:
        here = " (this one)" if worker.here else ""
        yield "worker", f"{worker.node}: {worker.running} of {worker.concurrency} busy{here}"


def _row(pool: Pool) -> tuple[str, ...]:
    counts = (pool.vcpus, pool.ready, pool.target, pool.claims, pool.misses, pool.failures, pool.standby)
    return pool.runtime, f"{pool.memory_mib} MiB", *map(str, counts)

"""`emberbox status`: how a server is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer  # noqa: TC002  Typer looks at it when it runs

from emberbox.cli import remote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emberbox.client import AsyncClient
    from emberbox.schemas.system import Node, Pool


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    ctx: typer.Context, json: remote.Json = False, server: remote.Server = None, profile: remote.ProfileName = None
) -> int:
    """Show the state of a server: its machine, its queue, its workers, and what it keeps ready."""

    async def work(client: AsyncClient) -> None:
        from emberbox.cli.tables import print_json

        node = await client.node()
        pools = await client.pools()
        if json:
            print_json(
                {"server": client.place.server, "node": remote.as_json(node), "pools": [remote.as_json(pool) for pool in pools]}
            )
            return
        remote.print_one(False, node, (("server", f"{client.place.server} ({client.place.source})"), *_fields(node)))
        if pools:
            columns = ("RUNTIME", "MEMORY", "CPUS", "READY", "WANTED", "CLAIMS", "MISSES", "FAILURES")
            remote.print_list(False, pools, columns, _row, right=columns[1:])

    return remote.call(ctx, server, profile, work)


def _fields(node: Node) -> Iterator[tuple[str, object]]:
    yield from (("state", node.state), ("version", node.version), ("up since", remote.moment(node.started_at)))
    yield from (
        ("database", node.database),
        ("machines run on", f"{node.driver.accelerator or 'nothing that confines'}: {node.driver.reason}"),
    )
    yield from (("to mend it", node.driver.mend), ("runtimes", " ".join(node.runtimes)))
    capacity = node.capacity
    limit = "" if capacity.machines_limit is None else f" of {capacity.machines_limit}"
    yield "machines", f"{capacity.machines}{limit}, on {capacity.processors} processors, load {capacity.load_1m:.1f}"
    free = f"{remote.size(capacity.memory_available_bytes)} of {remote.size(capacity.memory_total_bytes)} memory"
    yield "free", f"{free}, {remote.size(capacity.disk_free_bytes)} of {remote.size(capacity.disk_total_bytes)} disk"
    yield "jobs", f"{node.queue.queued} queued (the oldest for {node.queue.age_s:.1f} s), {node.queue.running} running"
    for worker in node.workers:
        yield "worker", f"{worker.node}: {worker.running} of {worker.concurrency} busy{' (this one)' if worker.here else ''}"


def _row(pool: Pool) -> tuple[str, ...]:
    counts = (pool.vcpus, pool.ready, pool.target, pool.claims, pool.misses, pool.failures)
    return pool.runtime, f"{pool.memory_mib} MiB", *map(str, counts)

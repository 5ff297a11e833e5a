"""`emberbox serve`: the whole service in one process."""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.cli.context import GlobalOptions
    from emberbox.config import Settings
    from emberbox.jobs.service import Service

_EPILOG = """\b
Examples:
  emberbox serve                              on http://127.0.0.1:8470, data in the usual folder
  emberbox serve --port 9000 --data ./data
  EMBERBOX_STORE_URL=postgresql://ember@db/ember emberbox serve --workers 16

\b
Signals:
  SIGTERM, SIGINT   take no new work, let jobs end (worker.drain_s), hand back the others, stop
  a second one      hand back at once, stop
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What the command line says, besides the settings.

    Args:
        new_admin_key: Make another admin key, for those who lost theirs.
        log_level: `debug`, `info`, `warning` or `error`.
        log_format: `text` or `json`.
    """

    new_admin_key: bool = False
    log_level: str = "info"
    log_format: str = "text"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", epilog=_EPILOG)(_serve)


def _serve(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 lets the system choose [default: 8470].")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Jobs that run at once [default: two for each processor].")] = None,
    data: Annotated[str | None, typer.Option(metavar="DIR", help="Data folder [env: EMBERBOX_DATA].")] = None,
    new_admin_key: Annotated[bool, typer.Option("--new-admin-key", help="Make another admin key and keep it.")] = False,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")] = "info",
    log_format: Annotated[str, typer.Option(metavar="FORM", help="text or json.")] = "text",
) -> int:
    """Run the service: API, queue, workers and all, in this process."""
    _check_choice("--log-level", log_level, ("debug", "info", "warning", "error"))
    _check_choice("--log-format", log_format, ("text", "json"))
    globals_: GlobalOptions = ctx.obj
    settings = with_flags(replace(globals_, data=data or globals_.data).settings(), host=host, port=port, workers=workers)
    from emberbox.cli.serving import run_service

    return run_service(settings, ServeOptions(new_admin_key=new_admin_key, log_level=log_level, log_format=log_format))


def _check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(allowed)}", param_hint=option)


def with_flags(settings: Settings, *, host: str | None, port: int | None, workers: int | None) -> Settings:
    """Return the settings with what the flags say; None leaves a setting as it is."""
    server = settings.server
    server = replace(server, host=server.host if host is None else host, port=server.port if port is None else port)
    worker = settings.worker if workers is None else replace(settings.worker, concurrency=workers)
    return replace(settings, server=server, worker=worker)


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def introduction(service: Service, url: str, key_file: Path, secret: str | None, unbuilt: list[str]) -> str:
    """Return what is said when the service is ready.

    Args:
        service: That is ready.
        url: Where.
        key_file: Where the admin key lies.
        secret: The admin key that was made by this start; None when there was one.
        unbuilt: Runtimes without an image.
    """
    driver = service.engine.driver
    lines = [
        f"Emberbox is ready at {url}",
        f"  API      {url}/openapi.json describes it",
        f"  data     {service.settings.data}",
        f"  VMs      {driver.reason}",
    ]
    if driver.mend is not None:
        lines.append(f"           faster with: {driver.mend}")
    if secret is not None and sys.stdout.isatty():
        lines.append(f"  key      {secret}")
        lines.append(f"           made now, shown once, kept in {key_file}; the emberbox command finds it there")
    elif key_file.exists():
        lines.append(f"  key      in {key_file}; the emberbox command finds it there")
    else:
        lines.append("  key      none is kept here; with --new-admin-key one is made")
    if unbuilt:
        lines.append(f"  to build {', '.join(unbuilt)}:")
        lines.append("           at the first use, which takes minutes, or now with: emberbox setup --runtime NAME")
    if not is_loopback(service.settings.server.host):
        lines.append("  WARNING  others can reach this address, and keys would travel in the clear: put TLS in front of it")
    return "\n".join(lines)

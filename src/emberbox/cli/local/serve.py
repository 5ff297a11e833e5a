"""`emberbox serve`: the whole service in one process."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from emberbox.cli import exit_codes
from emberbox.cli.commands import option

if TYPE_CHECKING:
    from emberbox.cli.context import GlobalOptions
    from emberbox.config import Settings

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


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve", epilog=_EPILOG)(_serve)


def _serve(
    ctx: typer.Context,
    host: Annotated[
        str | None, option("--host", "Address to listen on [default: 127.0.0.1].", "ADDRESS")
    ] = None,
    port: Annotated[
        int | None, option("--port", "Port; 0 lets the system choose [default: 8470].", min=0, max=65535)
    ] = None,
    workers: Annotated[
        int | None, option("--workers", "Jobs that run at once [default: two for each processor].", min=1)
    ] = None,
    data: Annotated[str | None, option("--data", "Data folder [env: EMBERBOX_DATA].", "DIR")] = None,
    new_admin_key: Annotated[bool, option("--new-admin-key", "Make another admin key and keep it.")] = False,
    log_level: Annotated[str, option("--log-level", "debug, info, warning or error.", "LEVEL")] = "info",
    log_format: Annotated[str, option("--log-format", "text or json.", "FORM")] = "text",
) -> int:
    """Run the service: API, queue, workers and all, in this process."""
    _check_choice("--log-level", log_level, ("debug", "info", "warning", "error"))
    _check_choice("--log-format", log_format, ("text", "json"))
    from emberbox.server.service_log import configure_service_log

    configure_service_log(log_level, log_format)
    globals_: GlobalOptions = ctx.obj
    settings = replace(globals_, data=data or globals_.data).settings(service=True)
    settings = with_flags(settings, host=host, port=port, workers=workers)
    from emberbox.server.serving import run_service

    ended_by = run_service(settings, new_admin_key=new_admin_key)
    if ended_by is None:
        return exit_codes.FAILURE
    # SIGTERM, by which systemd ends a service, asks for the end in good order, and got it.
    return exit_codes.OK if ended_by is signal.SIGTERM else exit_codes.INTERRUPTED


def _check_choice(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(allowed)}", param_hint=option)


def with_flags(settings: Settings, *, host: str | None, port: int | None, workers: int | None) -> Settings:
    """Return the settings with what the flags say; None leaves a setting as it is."""
    server = settings.server
    server = replace(
        server, host=server.host if host is None else host, port=server.port if port is None else port
    )
    worker = settings.worker if workers is None else replace(settings.worker, concurrency=workers)
    return replace(settings, server=server, worker=worker)

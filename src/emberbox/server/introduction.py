"""What a service says once it is ready: its address, its data, its VMs, its key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from emberbox.net.addresses import is_loopback
from emberbox.sandbox.kernels import image_store

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from emberbox.service.service import Service


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
        lines.append(
            f"           made now, shown once, kept in {key_file}; the emberbox command finds it there"
        )
    elif key_file.exists():
        lines.append(f"  key      in {key_file}; the emberbox command finds it there")
    else:
        lines.append("  key      none is kept here; with --new-admin-key one is made")
    if unbuilt:
        lines.append(f"  to build {', '.join(unbuilt)}:")
        lines.append(
            "           at the first use, which takes minutes, or now with: emberbox setup --runtime NAME"
        )
    if not is_loopback(service.settings.server.host):
        lines.append(
            "  WARNING  others can reach this address, and keys would travel in the clear: "
            "put TLS in front of it"
        )
    return "\n".join(lines)


def local_url(host: str, listener: socket.socket) -> str:
    """Return the address for programs of this machine."""
    port = listener.getsockname()[1]
    if host in ("0.0.0.0", "::", ""):  # noqa: S104  compared, not bound
        host = "127.0.0.1" if host != "::" else "::1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def unbuilt_runtimes(service: Service) -> list[str]:
    """Return the names of the runtimes that have no image yet; reads the disk."""
    images = image_store(service.settings)
    return [runtime.name for runtime in service.engine.runtimes if images.find(runtime) is None]

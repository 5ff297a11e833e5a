"""The guest's first root: the agent as /init, and the modules that it inserts before anything else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import RequirementMissing
from emberbox.images.rootfs import cpio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from emberbox.images.kernels.module import Module


def agent_path(architecture: str) -> Path:
    """Return where the compiled agent for `architecture` (`amd64`, `arm64`) lies in this installation."""
    return Path(__file__).resolve().parents[2] / "_builtin" / "agent" / f"emberbox-agent-{architecture}"


def read_agent(path: Path) -> bytes:
    """Return the agent's bytes; raises `RequirementMissing`, with how to compile it, without one."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RequirementMissing(
            f"the compiled guest agent is missing ({path.name}); a wheel holds it, a source tree compiles it",
            mend="python hatch_build.py (in the source tree), or: pip install --force-reinstall emberbox",
            detail=str(path),
        ) from error


def build_initramfs(agent: bytes, modules: Sequence[Module]) -> bytes:
    """Return the archive: `/init`, `/modules/NAME.ko`, `/modules/order` and `/modules/order-vsock`.

    The last two name one file a line, in the order of insertion: what every guest inserts, and what
    only those insert whose command line names the vsock channel. Same agent and modules give the
    same bytes. Not compressed: unpacking costs an emulated guest more than the larger file costs.
    """
    entries = [
        cpio.file("init", agent, 0o755),
        cpio.folder("dev"),
        cpio.character_device("dev/console", 5, 1),
        cpio.folder("modules"),
        cpio.file("modules/order", _order(module for module in modules if not module.vsock_only)),
        cpio.file("modules/order-vsock", _order(module for module in modules if module.vsock_only)),
        *(cpio.file(f"modules/{module.file_name}", module.data) for module in modules),
    ]
    return cpio.write_cpio(entries)


def _order(modules: Iterable[Module]) -> bytes:
    return "".join(f"{module.file_name}\n" for module in modules).encode()

"""The kernel that guests boot, and what that asks of the host's KVM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.doctor.finding import Finding, Row, problem_of
from emberbox.errors import EmberboxError
from emberbox.sandbox.kernels import guest_kernel, image_store

if TYPE_CHECKING:
    from emberbox.config import Settings
    from emberbox.vmm.guest_kernel import GuestKernel

_KEY, _TITLE = "kernel", "Guests' kernel"


async def look_at_kernel(settings: Settings) -> tuple[GuestKernel, Finding]:
    """Return what guests boot.

    A kernel that a setting names is looked into first, which takes seconds the first time.
    """
    images = image_store(settings)
    try:
        await images.prepare_kernel()
    except (EmberboxError, OSError) as error:
        return guest_kernel(images), Row(_KEY, _TITLE).missing(problem_of(error)[0], "No VM can be started.")
    return guest_kernel(images), check_kernel(guest_kernel(images))


def check_kernel(kernel: GuestKernel) -> Finding:
    """Say what guests boot, and which drivers cannot."""
    lacks = [
        f"{driver} cannot use it: it lacks {', '.join(texts)}"
        for driver, texts in kernel.lacks.items()
        if texts
    ]
    return Row(_KEY, _TITLE).ok("; ".join([kernel.name, *lacks]))

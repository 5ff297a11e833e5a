"""What drivers must know of the kernel that their guests boot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestKernel:
    """The kernel of all guests of an engine.

    Args:
        name: For people.
        pvm: Whether it has PVM's guest part (CONFIG_PVM_GUEST), without which KVM of the kind PVM
            cannot run it.
        lacks: By driver, what that driver needs and this kernel has not, each for people.
    """

    name: str
    pvm: bool = False
    lacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

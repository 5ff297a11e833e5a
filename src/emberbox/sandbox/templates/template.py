"""A template: what it is made of, and what it is once it is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.sandbox.machines.plan import MachinePlan, MachineSize

if TYPE_CHECKING:
    from emberbox.images import Image
    from emberbox.runtimes import Runtime
    from emberbox.sandbox.packages.layers import Layer
    from emberbox.sandbox.templates.stored import TemplateRecord
    from emberbox.vmm.base import LoadedSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatePlan:
    """What a template is made of.

    Args:
        runtime: What warms it.
        image: What it boots.
        size: How large it is.
        layers: What lies over its image, the last one on top.
        scope: Who is charged with it where it is made for this; None for this data folder's owner.
    """

    runtime: Runtime
    image: Image
    size: MachineSize
    layers: tuple[Layer, ...] = ()
    scope: str | None = None

    def __str__(self) -> str:
        """Return what it is, for people."""
        vcpus = "" if self.size.vcpus == 1 else f" and {self.size.vcpus} virtual CPUs"
        return f"a template of {self.runtime.name} at {self.size.memory_mib} MiB{vcpus}"

    @property
    def machine(self) -> MachinePlan:
        """A machine of this kind; callers `replace` what is its own."""
        layers = tuple(layer.path for layer in self.layers)
        return MachinePlan(image=self.image, size=self.size, layers=layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template(TemplatePlan):
    """A template that is open for cloning."""

    record: TemplateRecord
    snapshot: LoadedSnapshot

"""Commands that mend a host, as lines for root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.doctor.finding import install_command

if TYPE_CHECKING:
    from emberbox.doctor.hostfiles import HostFiles

NEXT_START = "The mend takes effect when the host is started again."
_SYSCTL_FILE = "/etc/sysctl.d/60-emberbox.conf"
_MODULE_FILE = "/etc/modprobe.d/emberbox.conf"
_MICROCODE = {"GenuineIntel": "intel-microcode", "AuthenticAMD": "amd64-microcode"}


def set_sysctl(name: str, value: str) -> str:
    """Return the line that sets a kernel setting now, and at each start of the host."""
    return f"sysctl -w {name}={value} >> {_SYSCTL_FILE}"


def set_module_option(module: str, option: str) -> str:
    """Return the line that gives a kernel module an option from the next start of the host on."""
    return f"echo 'options {module} {option}' >> {_MODULE_FILE}"


def boot_loader(files: HostFiles) -> str | None:
    """Return which tool sets the kernel's command line here: `grubby`, `grub`, or None for neither."""
    if files.exists("usr/sbin/grubby"):
        return "grubby"
    return "grub" if files.exists("etc/default/grub") else None


def add_kernel_parameter(parameter: str, loader: str | None) -> tuple[str, str | None]:
    """Return what to say about a parameter of the kernel's command line, and the line that adds it.

    Args:
        parameter: Such as `nosmt=force`.
        loader: See `boot_loader`; None when there is no line that we know.
    """
    if loader == "grubby":
        return NEXT_START, f"grubby --update-kernel=ALL --args='{parameter}'"
    if loader == "grub":
        return (
            NEXT_START,
            f"sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{parameter} /' /etc/default/grub && update-grub",
        )
    where = "to the kernel's command line, in the boot loader's settings"
    return f"Add {parameter} {where}, and start the host again.", None


def update_microcode(vendor: str | None) -> str | None:
    """Return the line that installs the processor's microcode; None for an unknown vendor."""
    package = _MICROCODE.get(vendor or "")
    return None if package is None else install_command(package, as_root=True)

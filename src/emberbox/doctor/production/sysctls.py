"""Checks of the kernel's settings.

They decide what one user learns about another, and what a start of a VM costs.

Sources: Firecracker's docs/prod-host-setup.md; the kernel's admin-guide/sysctl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emberbox.doctor.finding import Finding, Row
from emberbox.doctor.mends import set_sysctl

if TYPE_CHECKING:
    from emberbox.doctor.hostfiles import HostFiles
    from emberbox.doctor.trials.walls import Walls

_NO_DUMPS = ("", "/dev/null", "|/bin/false", "|/usr/bin/false", "|/bin/true", "|/usr/bin/true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A kernel setting and what it should be.

    Args:
        name: As `sysctl` names it.
        title: For people.
        least: Its least good value, the one to set.
        most: Its greatest good value.
        follows: What follows from another one.
    """

    name: str
    title: str
    least: int
    most: int
    follows: str


RULES = (
    Rule(
        name="kernel.dmesg_restrict",
        title="Kernel's messages",
        least=1,
        most=1,
        follows="Every user reads addresses and events of the host's kernel in its messages.",
    ),
    Rule(
        name="kernel.kptr_restrict",
        title="Kernel's addresses",
        least=1,
        most=2,
        follows="Every user sees where the kernel lies in memory, which attacks on it begin with.",
    ),
    Rule(
        name="kernel.randomize_va_space",
        title="Address randomization",
        least=2,
        most=2,
        follows="A VMM's memory lies where an attacker expects it.",
    ),
    Rule(
        name="kernel.yama.ptrace_scope",
        title="Tracing",
        least=1,
        most=3,
        follows="A process may read the memory of others of its user.",
    ),
    Rule(
        name="kernel.unprivileged_bpf_disabled",
        title="BPF for users",
        least=1,
        most=2,
        follows="Every user may load programs into the kernel: a way to Spectre attacks.",
    ),
    Rule(
        name="kernel.perf_event_paranoid",
        title="Performance events",
        least=2,
        most=4,
        follows="Every user measures what others do, which side channels are made of.",
    ),
    Rule(
        name="fs.protected_hardlinks",
        title="Hard links",
        least=1,
        most=1,
        follows="A user may link files of others to where root works.",
    ),
    Rule(
        name="fs.protected_symlinks",
        title="Symbolic links",
        least=1,
        most=1,
        follows="A user may lead root astray in shared folders such as /tmp.",
    ),
    Rule(
        name="fs.suid_dumpable",
        title="Dumps of set-uid programs",
        least=0,
        most=0,
        follows="What changed its user may be dumped, with its memory.",
    ),
    Rule(
        name="vm.overcommit_memory",
        title="Overcommit",
        least=0,
        most=1,
        follows="VMs are given more memory than they touch; this host refuses that, so fewer can be started.",
    ),
)


def check_setting(rule: Rule, value: str | None) -> Finding:
    """Judge a kernel setting; `value` None when this kernel has none of that name."""
    row = Row(f"sysctl.{rule.name}", rule.title)
    try:
        number = int(value or "")
    except ValueError:
        found = f"cannot be seen: there is no {rule.name}" if value is None else f"{rule.name} = {value!r}"
        return row.unknown(found)
    if rule.least <= number <= rule.most:
        return row.ok(f"{rule.name} = {number}")
    return row.warning(f"{rule.name} = {number}", rule.follows, set_sysctl(rule.name, str(rule.least)))


def check_user_namespaces(cloning: str | None, made: bool | None, *, as_root: bool = True) -> Finding:
    """Judge whether every user may make user namespaces, and so reach much of the kernel as root of one.

    Args:
        cloning: kernel.unprivileged_userns_clone, which only Debian's kernels have.
        made: Whether one without rights made one; None where that could not be tried.
        as_root: Whether Emberbox runs as root; else its own VMMs are shut in by them.
    """
    row = Row("user_namespaces", "User namespaces")
    if made is None:
        return row.unknown("it could not be tried whether a user can make them")
    if not made:
        return row.ok("not for every user, as one without rights found")
    follows = "Every user of the host reaches parts of the kernel that are full of holes."
    if not as_root:
        follows += " Emberbox needs them too, unless it runs as root."
        return row.warning("every user may make them", follows)
    setting = "kernel.unprivileged_userns_clone" if cloning is not None else "user.max_user_namespaces"
    return row.warning("every user may make them", follows, set_sysctl(setting, "0"))


def check_core_dumps(pattern: str | None, walls: Walls | None) -> Finding:
    """Judge where core dumps go. A VMM's dump holds its guest's memory.

    Args:
        pattern: kernel.core_pattern.
        walls: What a VMM was shut in by; None where none ran.
    """
    row = Row("core_dumps", "Core dumps")
    if pattern is None:
        return row.unknown("cannot be seen: there is no kernel.core_pattern")
    if pattern in _NO_DUMPS:
        return row.ok(f"{pattern!r}: none is kept")
    follows = "When a VMM crashes, its guest's memory is written to the host's disk."
    mend = set_sysctl("kernel.core_pattern", "core")
    if pattern.startswith("|"):
        found = f"{pattern.split()[0][1:]} gets each, whatever the limit of the program"
        return row.warning(found, follows, mend)
    if walls is None:
        return row.unknown(f"{pattern!r}; no VM ran to be looked at")
    if walls.core_bytes != 0:
        found = f"{pattern!r}; a VMM that was looked at may write {walls.core_bytes or 'any number of'} bytes"
        return row.warning(found, follows)
    return row.ok(f"{pattern!r}; a VMM that was looked at may write none")


def check_messages(levels: str | None) -> Finding:
    """Judge how much the kernel writes to its console, by kernel.printk.

    A slow console slows the starts of VMs.
    """
    row = Row("console_messages", "Console messages")
    try:
        level = int((levels or "").split()[0])
    except (ValueError, IndexError):
        return row.unknown("cannot be seen: kernel.printk does not tell")
    if level <= 4:
        return row.ok(f"level {level}: errors and worse at most")
    return row.warning(
        f"level {level}",
        "Each start of a VM writes lines; on a serial console that takes longer than the start.",
        set_sysctl("kernel.printk", "'1 4 1 7'"),
    )


def check_entropy(available: str | None, source: str | None) -> Finding:
    """Judge the kernel's random numbers, which each clone is given some of.

    Args:
        available: kernel.random.entropy_avail, in bits.
        source: The hardware that helps, as the kernel names it; None where there is none.
    """
    row = Row("entropy", "Randomness")
    try:
        bits = int(available or "")
    except ValueError:
        return row.unknown("cannot be seen: there is no entropy_avail")
    fed = f"fed by {source}" if source and source != "none" else "no hardware source but the processor"
    found = f"{bits} bits, {fed}"
    if bits >= 128:
        return row.ok(found)
    return row.warning(
        found, "Clones that start now may wait for it.", "apt-get install -y jitterentropy-rngd"
    )


def check_settings(
    files: HostFiles, *, as_root: bool, walls: Walls | None, made: bool | None
) -> list[Finding]:
    """Look at all of it; arguments as for `check_user_namespaces` and `check_core_dumps`."""

    def setting(name: str) -> str | None:
        return files.read("proc/sys/" + name.replace(".", "/"))

    return [
        *(check_setting(rule, setting(rule.name)) for rule in RULES),
        check_user_namespaces(setting("kernel.unprivileged_userns_clone"), made, as_root=as_root),
        check_core_dumps(setting("kernel.core_pattern"), walls),
        check_messages(setting("kernel.printk")),
        check_entropy(
            setting("kernel.random.entropy_avail"), files.read("sys/class/misc/hw_random/rng_current")
        ),
    ]

"""Trees of files that stand for hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.doctor.checks.processors import EXPECTED
from emberbox.doctor.hostfiles import HostFiles

if TYPE_CHECKING:
    from pathlib import Path

CPU = "sys/devices/system/cpu"
GOOD = {
    "proc/cpuinfo": "processor\t: 0\nvendor_id\t: GenuineIntel\nmicrocode\t: 0xd0003e7\nflags\t\t: fpu vmx",
    "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/sda1 quiet nosmt=force",
    "proc/stat": "cpu  100 0 100 800 0 0 0 0 0 0",
    "proc/swaps": "Filename\tType\tSize\tUsed\tPriority",
    "proc/self/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw,favordynmods 0 0",
    "proc/version": (
        "Linux version 6.1.0-40-amd64 (d@d.org) #1 SMP PREEMPT_DYNAMIC Debian 6.1.150-1 (2026-10-20)"
    ),
    "proc/sys/kernel/osrelease": "6.1.0-40-amd64",
    "proc/sys/kernel/dmesg_restrict": "1",
    "proc/sys/kernel/kptr_restrict": "1",
    "proc/sys/kernel/randomize_va_space": "2",
    "proc/sys/kernel/yama/ptrace_scope": "1",
    "proc/sys/kernel/unprivileged_bpf_disabled": "2",
    "proc/sys/kernel/perf_event_paranoid": "3",
    "proc/sys/kernel/unprivileged_userns_clone": "0",
    "proc/sys/kernel/core_pattern": "core",
    "proc/sys/kernel/printk": "1\t4\t1\t7",
    "proc/sys/kernel/random/entropy_avail": "256",
    "proc/sys/kernel/seccomp/actions_avail": "kill_process kill_thread trap errno user_notif trace log allow",
    "proc/sys/fs/protected_hardlinks": "1",
    "proc/sys/fs/protected_symlinks": "1",
    "proc/sys/fs/suid_dumpable": "0",
    "proc/sys/vm/overcommit_memory": "0",
    "lib/modules/6.1.0-40-amd64/modules.dep": "",
    "lib/modules/6.1.0-39-amd64/modules.dep": "",
    "sys/kernel/mm/ksm/run": "0",
    "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory pids",
    "sys/module/kvm/parameters/nx_huge_pages": "Y",
    "sys/module/kvm/parameters/min_timer_period_us": "200",
    "sys/devices/system/edac/mc/mc0/ce_count": "0",
    f"{CPU}/smt/control": "forceoff",
    f"{CPU}/vulnerabilities/old_microcode": "Not affected",
    **{f"{CPU}/vulnerabilities/{name}": "Not affected" for name in EXPECTED},
    f"{CPU}/vulnerabilities/spectre_v2": (
        "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional; RSB filling; BHI: BHI_DIS_S"
    ),
    f"{CPU}/vulnerabilities/spec_store_bypass": (
        "Mitigation: Speculative Store Bypass disabled via prctl and seccomp"
    ),
    f"{CPU}/vulnerabilities/itlb_multihit": "KVM: Mitigation: Split huge pages",
    "etc/default/grub": 'GRUB_CMDLINE_LINUX=""',
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh",
    "etc/group": "root:x:0:\nalice:x:1000:",
    "etc/subuid": "alice:100000:65536",
    "etc/subgid": "alice:100000:65536",
}
"""A host on which nothing is left to mend. Its day is 2026-11-01."""


def host(folder: Path, **changes: str | None) -> HostFiles:
    """Write the good host with some files changed, or missing for None; names have `__` for `/`."""
    for path, text in (GOOD | {name.replace("__", "/"): text for name, text in changes.items()}).items():
        if text is not None:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text + "\n")
    return HostFiles(folder)

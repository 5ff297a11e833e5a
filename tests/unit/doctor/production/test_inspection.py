"""The checks of a production host, on trees of files that stand for hosts."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.config import Settings, VmmSettings
from emberbox.doctor import Finding, Level, inspect_host
from emberbox.doctor.checks.drivers import Drivers
from emberbox.doctor.checks.processors import EXPECTED, check_processor
from emberbox.doctor.checks.virtualization import check_kvm, check_virtualization, stolen_share
from emberbox.doctor.hostfiles import HostFiles
from emberbox.doctor.production.inspection import Tried
from emberbox.doctor.production.jails import check_jailer, check_jails, check_users
from emberbox.doctor.production.kernel import check_kernel, made_on
from emberbox.doctor.production.memory import check_memory
from emberbox.doctor.production.sysctls import RULES, check_settings, check_user_namespaces
from emberbox.doctor.trials.machine import CONSOLE_BYTES, MachineTrial
from emberbox.doctor.trials.walls import Walls
from emberbox.vmm.base import DriverReport
from emberbox.vmm.kvm.acceleration import Acceleration
from tests.unit.doctor.host_trees import CPU, host

if TYPE_CHECKING:
    from pathlib import Path

TODAY = datetime.date(2026, 11, 1)
USABLE = DriverReport(usable=True, accelerator="kvm", version="Firecracker 1.16.1", reason="hardware")
ABSENT = DriverReport(
    usable=False, accelerator=None, version=None, reason="it is not installed", mend="install it"
)
KNOWN = f"{CPU}/vulnerabilities"
BOUNDED = VmmSettings(disk_mib_per_s=100)


WALLS = Walls(uid=790_000, shared=(), capable=False, gains=False, filtered=True, core_bytes=0, bounded=("",))
RAN = MachineTrial(ran_ms=20, walls=WALLS, console_bytes=CONSOLE_BYTES)
GOOD = Drivers(findings=[], trial=RAN, name="firecracker", version="Firecracker 1.16.1")
UNTRIED = Drivers(findings=[])


def look(
    files: HostFiles, vmm: VmmSettings = BOUNDED, drivers: Drivers = GOOD, made: bool | None = False
) -> dict[str, Finding]:
    """Run all checks that read files, and those that look at what was tried."""
    walls = None if drivers.trial is None else drivers.trial.walls
    groups = [
        check_virtualization(files),
        check_jails(files, vmm, USABLE, drivers, kvm=True, as_root=True),
        check_memory(files),
        check_kernel(files, TODAY),
        check_settings(files, as_root=True, walls=walls, made=made),
        check_processor(files),
    ]
    return {finding.key: finding for group in groups for finding in group}


def test_a_good_host_has_nothing_to_mend(tmp_path: Path) -> None:
    found = look(host(tmp_path))
    assert {key: finding.found for key, finding in found.items() if finding.level is not Level.OK} == {
        "rowhammer": "errors are watched by mc0",
        "disk_encryption": "not looked at",
    }
    assert {found["rowhammer"].level, found["disk_encryption"].level} == {Level.BY_HAND}


def test_what_cannot_be_seen_is_not_taken_for_good(tmp_path: Path) -> None:
    found = look(HostFiles(tmp_path / "nothing"), drivers=UNTRIED, made=None)
    good = {key for key, finding in found.items() if finding.level is Level.OK}
    assert good == {"rates"}, "which only a setting decides"
    unknown = {key for key, finding in found.items() if finding.level is Level.UNKNOWN}
    assert {f"vulnerability.{name}" for name in EXPECTED} | {
        f"sysctl.{rule.name}" for rule in RULES
    } <= unknown
    assert {
        "smt",
        "mitigations",
        "ksm",
        "swap",
        "seccomp",
        "users",
        "kernel",
        "core_dumps",
        "entropy",
        "machine",
    } <= unknown
    assert {"output", "user_namespaces"} <= unknown


def test_files_alone_prove_nothing(tmp_path: Path) -> None:
    found = look(host(tmp_path), drivers=UNTRIED, made=None)
    unproven = {key for key, finding in found.items() if finding.level not in (Level.OK, Level.BY_HAND)}
    assert unproven == {"jailer", "users", "seccomp", "output", "core_dumps", "user_namespaces"}


@pytest.mark.parametrize(
    ("walls", "key", "words"),
    [
        ({"filtered": False}, "seccomp", "no filter"),
        ({"uid": 1000}, "users", "uid 1000, which is none of 790000 to 889999"),
        ({"core_bytes": None}, "core_dumps", "any number of bytes"),
    ],
)
def test_what_a_vmm_shows(walls: dict[str, Any], key: str, words: str, tmp_path: Path) -> None:
    drivers = replace(GOOD, trial=replace(RAN, walls=replace(WALLS, **walls)))
    finding = look(host(tmp_path), drivers=drivers)[key]
    assert (finding.level, words in finding.found) == (Level.WARNING, True)


def test_a_guest_that_writes_more_than_it_may(tmp_path: Path) -> None:
    finding = look(host(tmp_path), drivers=replace(GOOD, trial=replace(RAN, console_bytes=9999)))["output"]
    assert (finding.level, "9999 bytes" in finding.found) == (Level.WARNING, True)


def test_users_of_a_service_that_is_not_root(tmp_path: Path) -> None:
    finding = check_users(790_000, [], replace(WALLS, uid=1000), as_root=False)
    assert (finding.level, "the user that Emberbox runs as" in finding.found) == (Level.WARNING, True)


@pytest.mark.parametrize(
    ("path", "text", "key", "words", "mend"),
    [
        (f"{CPU}/smt/control", "on", "smt", "on", "nosmt=force"),
        (
            "proc/cmdline",
            "ro mitigations=auto,no_guest_host quiet",
            "mitigations",
            "mitigations=auto,no_guest_host",
            None,
        ),
        ("proc/cmdline", "nopti l1tf=off", "mitigations", "nopti l1tf=off", None),
        (f"{KNOWN}/meltdown", "Vulnerable", "vulnerability.meltdown", "Vulnerable", "pti=on"),
        (
            f"{KNOWN}/l1tf",
            "Mitigation: PTE Inversion; VMX: vulnerable",
            "vulnerability.l1tf",
            "VMX",
            "l1tf=full,force",
        ),
        (
            f"{KNOWN}/mds",
            "Mitigation: Clear CPU buffers; SMT vulnerable",
            "vulnerability.mds",
            "SMT",
            "nosmt=force",
        ),
        (
            f"{KNOWN}/mds",
            "Vulnerable: attempted, no microcode",
            "vulnerability.mds",
            "Vuln",
            "intel-microcode",
        ),
        (
            f"{KNOWN}/spectre_v2",
            "Mitigation: Retpolines",
            "vulnerability.spectre_v2",
            "Retp",
            "intel-microcode",
        ),
        (
            f"{KNOWN}/spectre_v2",
            "Mitigation: X; IBPB: disabled",
            "vulnerability.spectre_v2",
            "IBPB",
            "spectre_v2=on",
        ),
        (
            f"{KNOWN}/spec_store_bypass",
            "Mitigation: Speculative Store Bypass disabled via prctl",
            "vulnerability.spec_store_bypass",
            "prctl",
            "spec_store_bypass_disable=seccomp",
        ),
        (f"{KNOWN}/one_of_tomorrow", "Vulnerable", "vulnerability.one_of_tomorrow", "Vulnerable", None),
        (f"{KNOWN}/old_microcode", "Vulnerable", "microcode", "0xd0003e7: Vulnerable", "intel-microcode"),
        ("sys/kernel/mm/ksm/run", "1", "ksm", "on", "echo 2 > /sys/kernel/mm/ksm/run"),
        (
            "sys/module/kvm/parameters/nx_huge_pages",
            "never",
            "nx_huge_pages",
            "not mitigated",
            "nx_huge_pages=auto",
        ),
        (
            "sys/module/kvm/parameters/min_timer_period_us",
            "20",
            "min_timer_period",
            "20 µs",
            "min_timer_period_us=200",
        ),
        (
            "proc/self/mounts",
            "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
            "nx_huge_pages",
            "favordynmods",
            "remount,favordynmods",
        ),
        ("proc/sys/kernel/osrelease", "6.5.0-9-generic", "kernel", "not a long-term kernel", None),
        ("proc/sys/kernel/osrelease", "4.19.0-1-amd64", "kernel", "older than 5.10", None),
        (
            "lib/modules/6.1.0-41-amd64/x",
            "",
            "kernel_updates",
            "6.1.0-41-amd64 is installed, 6.1.0-40-amd64 runs",
            "reboot",
        ),
        ("run/reboot-required", "", "kernel_updates", "asks for a restart", "reboot"),
        (
            "proc/version",
            "#45-Ubuntu SMP Fri Aug 30 12:02:04 UTC 2024",
            "kernel_updates",
            "793 days ago",
            "dist-upgrade",
        ),
        (
            "proc/sys/kernel/core_pattern",
            "|/usr/share/apport/apport %p",
            "core_dumps",
            "apport",
            "kernel.core_pattern=core",
        ),
        ("proc/sys/kernel/printk", "7 4 1 7", "console_messages", "level 7", "kernel.printk='1 4 1 7'"),
        ("proc/sys/kernel/random/entropy_avail", "12", "entropy", "12 bits", "jitterentropy"),
        (
            "proc/sys/kernel/seccomp/actions_avail",
            "errno allow",
            "seccomp",
            "cannot trap, kill_process",
            None,
        ),
        (
            "proc/sys/vm/overcommit_memory",
            "2",
            "sysctl.vm.overcommit_memory",
            "= 2",
            "vm.overcommit_memory=0",
        ),
        (
            "sys/fs/cgroup/cgroup.controllers",
            "cpuset",
            "cgroup_version",
            "none",
            "systemd.unified_cgroup_hierarchy=1",
        ),
        (
            "etc/subuid",
            "bob:700000:100000",
            "users",
            "/etc/subuid gives 700000 to 799999 to bob",
            "UID_BASE=890000",
        ),
        (
            "etc/passwd",
            "eve:x:795000:1::/:/x",
            "users",
            "/etc/passwd gives 795000 to 795000 to eve",
            "UID_BASE=890000",
        ),
    ],
)
def test_what_is_to_be_mended(
    path: str, text: str, key: str, words: str, mend: str | None, tmp_path: Path
) -> None:
    finding = look(host(tmp_path, **{path: text}))[key]
    assert finding.level is Level.WARNING
    assert words in finding.found
    assert finding.mend is None if mend is None else mend in (finding.mend or "")
    assert finding.follows


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_setting_is_mended_to_what_is_good(rule: object, tmp_path: Path) -> None:
    from emberbox.doctor.production.sysctls import Rule, check_setting

    assert isinstance(rule, Rule)
    assert check_setting(rule, str(rule.least)).level is Level.OK
    bad = check_setting(rule, str(rule.most + 1))
    assert (bad.level, bad.mend) == (
        Level.WARNING,
        f"sysctl -w {rule.name}={rule.least} >> /etc/sysctl.d/60-emberbox.conf",
    )
    assert check_setting(rule, "x").level is Level.UNKNOWN


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"proc/swaps": "F\n/dev/zram0 partition 1 0 5"}, Level.OK, "/dev/zram0 (compressed memory)"),
        (
            {"proc/swaps": "F\n/dev/zram0 partition 1 0 5", "sys/block/zram0/backing_dev": "/dev/sda2"},
            Level.WARNING,
            "readable",
        ),
        (
            {"proc/swaps": "F\n/dev/dm-1 partition 1 0 5", "sys/block/dm-1/dm/uuid": "CRYPT-PLAIN-x"},
            Level.OK,
            "/dev/dm-1 (encrypted)",
        ),
        (
            {"proc/swaps": "F\n/dev/dm-1 partition 1 0 5", "sys/block/dm-1/dm/uuid": "LVM-x"},
            Level.WARNING,
            "readable on the disk",
        ),
        (
            {"proc/swaps": "F\n/swapfile file 1 0 5\n/dev/zram0 partition 1 0 5"},
            Level.WARNING,
            "/swapfile (readable on the disk)",
        ),
    ],
)
def test_swap(changes: dict[str, str], level: Level, words: str, tmp_path: Path) -> None:
    finding = look(host(tmp_path, **changes))["swap"]
    assert (finding.level, words in finding.found) == (level, True)
    assert (finding.mend is None) is (level is Level.OK)


def test_only_x86_has_the_timer(tmp_path: Path) -> None:
    finding = look(host(tmp_path, proc__cpuinfo="CPU implementer\t: 0x41\nFeatures\t: fp asimd"))[
        "min_timer_period"
    ]
    assert (finding.level, "only x86" in finding.found) == (Level.OK, True)


def test_a_kernel_without_page_merging(tmp_path: Path) -> None:
    files = host(
        tmp_path, sys__kernel__mm__ksm__run=None, sys__kernel__mm__transparent_hugepage__enabled="always"
    )
    assert (look(files)["ksm"].level, look(files)["ksm"].found) == (Level.OK, "this kernel has none")


def test_a_virtual_machine_asks_for_the_host_below(tmp_path: Path) -> None:
    cpu = "vendor_id\t: AuthenticAMD\nmicrocode\t: 0x1000065\nflags\t: fpu hypervisor"
    files = host(
        tmp_path,
        proc__cpuinfo=cpu,
        **{f"{CPU}/vulnerabilities/spec_rstack_overflow": "Vulnerable: Safe RET, no microcode"},
    )
    found = look(files)
    assert (found["machine"].level, found["microcode"].level) == (Level.BY_HAND, Level.BY_HAND)
    stuck = found["vulnerability.spec_rstack_overflow"]
    assert (stuck.level, stuck.mend) == (Level.WARNING, None)
    assert "the host below" in (stuck.follows or "")
    stolen = look(host(tmp_path, proc__cpuinfo=cpu, proc__stat="cpu  100 0 0 800 0 0 0 100 0 0"))["machine"]
    assert (stolen.level, stolen.found) == (Level.WARNING, "a virtual machine, 10.0% of its time stolen")


def test_parameters_without_a_boot_loader_that_we_know(tmp_path: Path) -> None:
    finding = look(host(tmp_path, etc__default__grub=None, **{f"{CPU}/smt/control": "on"}))["smt"]
    assert finding.mend is None
    assert "Add nosmt=force to the kernel's command line" in (finding.follows or "")
    grubby = look(host(tmp_path, usr__sbin__grubby="", **{f"{CPU}/smt/control": "on"}))["smt"]
    assert grubby.mend == "grubby --update-kernel=ALL --args='nosmt=force'"


def test_version_1_control_groups(tmp_path: Path) -> None:
    split = {f"sys/fs/cgroup/{name}/tasks": "" for name in ("cpu", "memory", "pids")}
    finding = look(host(tmp_path, **split, **{"sys/fs/cgroup/cgroup.controllers": None}))["cgroup_version"]
    assert (finding.level, finding.found) == (Level.WARNING, "version 1")


def test_user_namespaces_that_emberbox_itself_needs() -> None:
    finding = check_user_namespaces("1", True, as_root=False)
    assert (finding.level, finding.mend) == (Level.WARNING, None)
    assert "unless it runs as root" in (finding.follows or "")
    assert check_user_namespaces("1", False).level is Level.OK
    assert check_user_namespaces("1", None).level is Level.UNKNOWN
    assert "unprivileged_userns_clone=0" in (check_user_namespaces("1", True).mend or "")
    assert "max_user_namespaces=0" in (check_user_namespaces(None, True).mend or "")


def test_drives_without_bounds(tmp_path: Path) -> None:
    finding = look(host(tmp_path), VmmSettings())["rates"]
    assert (finding.level, finding.mend) == (Level.WARNING, "export EMBERBOX_VMM_DISK_MIB_PER_S=200")


def test_jailer() -> None:
    assert check_jailer(USABLE, GOOD, kvm=True).level is Level.OK
    absent = check_jailer(ABSENT, GOOD, kvm=True)
    assert (absent.level, absent.mend) == (Level.WARNING, "install it")
    assert check_jailer(ABSENT, GOOD, kvm=False).mend is None, "it would not run"
    failed = check_jailer(USABLE, replace(GOOD, trial=MachineTrial(problem="it was refused")), kvm=True)
    assert (failed.level, "it was refused" in failed.found) == (Level.WARNING, True)
    passed_over = check_jailer(USABLE, replace(GOOD, name="qemu"), kvm=True)
    assert (passed_over.level, passed_over.mend) == (Level.WARNING, "export EMBERBOX_VMM_DRIVER=auto")
    assert check_kvm(Acceleration("kvm", "hardware")).level is Level.OK
    assert check_kvm(Acceleration("tcg", "emulated")).level is Level.WARNING


@pytest.mark.parametrize(
    ("told", "day"),
    [
        ("#1 SMP Debian 6.1.150-1 (2026-10-20)", datetime.date(2026, 10, 20)),
        ("#45 SMP Fri Aug 30 12:02:04 UTC 2024", datetime.date(2024, 8, 30)),
        ("#1 SMP Xyz 30 12:02:04 UTC 2024", None),
        ("#1 SMP (2026-13-40)", None),
        ("#1 SMP @0", None),
        ("", None),
    ],
)
def test_the_day_a_kernel_was_made(told: str, day: datetime.date | None) -> None:
    assert made_on(told) == day


@pytest.mark.parametrize(
    "stat", ["", "cpu", "cpu 1 2 3", "cpu a b c d e f g h", "intr 1 2 3 4 5 6 7 8", "cpu 0 0 0 0 0 0 0 0"]
)
def test_statistics_that_tell_nothing(stat: str) -> None:
    assert stolen_share(stat) is None


def test_reading_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 2_000_000)
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    files = HostFiles(tmp_path)
    assert len(files.read("big") or "") == 1024 * 1024
    assert files.read("bad") == "��"
    assert files.read("folder/none") is None
    assert files.names("big") is None


async def test_all_of_it_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def kvm(cache: Path, **_: object) -> Acceleration:
        return Acceleration("kvm", "hardware")

    monkeypatch.setattr("emberbox.vmm.kvm.acceleration.probe_acceleration", kvm)
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    tried = Tried(drivers=GOOD, group=None, namespaces=False)
    settings, tree = Settings(data=tmp_path / "data", vmm=BOUNDED), host(tmp_path)
    found = await inspect_host(settings, tree, tried)
    assert len({finding.key for finding in found}) == len(found), "each row has a key of its own"
    left = {finding.key for finding in found if finding.level not in (Level.OK, Level.BY_HAND)}
    assert left - {"kernel_updates"} == {"jailer"}, "the kernel of the tree gets older"
    unbound = {
        row.key: row for row in await inspect_host(settings, tree, replace(tried, group="no bound holds"))
    }
    groups = unbound["cgroup_version"]
    assert (groups.level, groups.found) == (
        Level.WARNING,
        "version 2: cpuset cpu io memory pids, but no bound holds",
    )

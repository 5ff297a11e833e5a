from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from emberbox.errors import RequirementMissing
from emberbox.vmm.guest_kernel import GuestKernel
from emberbox.vmm.kvm.acceleration import Acceleration, Trial, decide, insist, judge, probe_acceleration
from emberbox.vmm.kvm.kinds import Kvm, KvmKind

NULL = Path("/dev/null")


def program(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


@pytest.mark.parametrize(
    ("code", "output", "ran", "words"),
    [
        (0, b'{"microseconds": 212.5}', True, "ran in 212 µs"),
        (0, b'{"microseconds": 303000}', True, "took 303 ms instead of below 1"),
        (0, b'{"error": "Inappropriate ioctl for device"}', False, "Inappropriate ioctl"),
        (-11, b"", False, "ended with code -11"),
        (0, b"null", False, "ended with code 0"),
        (0, b'{"microseconds": "x"}', False, "ended with code 0"),
        (None, b"", False, "hung"),
    ],
)
def test_what_the_trial_tells(code: int | None, output: bytes, ran: bool, words: str) -> None:
    found = judge(code, output)
    assert found.ran == ran
    assert found.fast == ("µs" in words)
    assert words in found.told


FAST, SLOW, BROKEN = Trial("12 µs", ran=True, fast=True), Trial("303 ms", ran=True), Trial("it hung")
ORDINARY, BUILT_FOR_IT = GuestKernel(name="Linux 6.1"), GuestKernel(name="Linux 6.12-pvm", pvm=True)


def kvm(kind: KvmKind) -> Kvm:
    return Kvm(kind=kind, found=kind, needs="")


@pytest.mark.parametrize(
    ("trial", "kind", "kernel", "name", "words"),
    [
        (FAST, KvmKind.HARDWARE, ORDINARY, "kvm", "hardware virtualization: 12 µs"),
        (FAST, KvmKind.NESTED, None, "kvm", "hardware virtualization"),
        (SLOW, KvmKind.NESTED, ORDINARY, "tcg", "itself emulated here (303 ms)"),
        (SLOW, KvmKind.UNKNOWN, BUILT_FOR_IT, "tcg", "itself emulated"),
        (BROKEN, KvmKind.HARDWARE, ORDINARY, "tcg", "it hung"),
        (
            SLOW,
            KvmKind.PVM,
            BUILT_FOR_IT,
            "kvm",
            "PVM: KVM without hardware, for which the kernel Linux 6.12-pvm is built",
        ),
        (FAST, KvmKind.PVM, BUILT_FOR_IT, "kvm", "PVM"),
        (SLOW, KvmKind.PVM, ORDINARY, "tcg", "Linux 6.1 has none (emberbox setup --kernel FILE)"),
        (FAST, KvmKind.PVM, ORDINARY, "tcg", "runs only kernels with PVM's guest part"),
        (
            SLOW,
            KvmKind.PVM,
            None,
            "tcg",
            "runs only kernels with PVM's guest part (emberbox setup --kernel FILE)",
        ),
        (BROKEN, KvmKind.PVM, BUILT_FOR_IT, "tcg", "it hung"),
    ],
)
def test_kind_and_kernel_decide(
    trial: Trial, kind: KvmKind, kernel: GuestKernel | None, name: str, words: str
) -> None:
    found = decide(trial, kvm(kind), kernel)
    assert found.name == name
    assert words in found.reason


def test_what_is_set_is_refused_only_where_no_guest_would_boot() -> None:
    with pytest.raises(RequirementMissing, match=r"Linux 6\.1 has none: no guest would boot") as told:
        insist("kvm", kvm(KvmKind.PVM), ORDINARY)
    assert "emberbox setup --kernel FILE" in told.value.message
    assert insist("kvm", kvm(KvmKind.PVM), BUILT_FOR_IT) == Acceleration("kvm", "kvm, as set")
    assert insist("kvm", kvm(KvmKind.PVM), None).name == "kvm"
    assert insist("kvm", kvm(KvmKind.HARDWARE), ORDINARY).name == "kvm"
    assert insist("tcg", kvm(KvmKind.PVM), ORDINARY).name == "tcg"


async def test_a_user_is_sent_to_a_group_only_where_guests_would_run_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    monkeypatch.setattr("emberbox.vmm.kvm.acceleration.let_in", lambda _: "join it")
    device = tmp_path / "kvm"
    device.touch()
    fine = await probe_acceleration(device=device, kvm=kvm(KvmKind.HARDWARE), kernel=ORDINARY)
    assert fine.reason == f"software emulation: {device} may not be used by this user (join it)"
    useless = await probe_acceleration(device=device, kvm=kvm(KvmKind.PVM), kernel=ORDINARY)
    assert "join it" not in useless.reason
    assert "Linux 6.1 has none" in useless.reason
    assert (
        "join it"
        in (await probe_acceleration(device=device, kvm=kvm(KvmKind.PVM), kernel=BUILT_FOR_IT)).reason
    )
    for kind in (KvmKind.PVM, KvmKind.UNKNOWN, KvmKind.NONE):
        unsure = await probe_acceleration(device=device, kvm=kvm(kind), kernel=None)
        assert unsure.reason == f"software emulation: {device} may not be used by this user", kind


async def test_the_kernel_is_asked_for_anew_though_the_trial_is_kept(tmp_path: Path) -> None:
    cache = tmp_path / "acceleration.json"
    slow = program("print('{\"microseconds\": 300000}')")
    pvm = kvm(KvmKind.PVM)
    first = await probe_acceleration(cache, device=NULL, kvm=pvm, kernel=ORDINARY, command=slow)
    assert first.name == "tcg"
    broken = program("raise SystemExit(1)")
    second = await probe_acceleration(cache, device=NULL, kvm=pvm, kernel=BUILT_FOR_IT, command=broken)
    assert second.name == "kvm", "another kernel changes the end, and the trial comes from the cache"


async def test_a_probe_that_hangs_is_given_up() -> None:
    found = await probe_acceleration(
        device=NULL,
        kvm=kvm(KvmKind.HARDWARE),
        command=program("import time; time.sleep(3600)"),
        timeout_s=0.5,
    )
    assert found.name == "tcg"
    assert "hung for 0.5 s" in found.reason


async def test_a_probe_that_ignores_its_end_is_given_up_too() -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
    found = await probe_acceleration(
        device=NULL, kvm=kvm(KvmKind.HARDWARE), command=program(stubborn), timeout_s=0.5
    )
    assert found.name == "tcg"


async def test_our_own_probe_tells_why_a_device_is_not_kvm() -> None:
    found = await probe_acceleration(device=NULL, kvm=kvm(KvmKind.HARDWARE))
    assert found.name == "tcg"
    assert "does not run guests" in found.reason


async def test_a_missing_device_is_told(tmp_path: Path) -> None:
    found = await probe_acceleration(device=tmp_path / "kvm")
    assert found == Acceleration("tcg", f"software emulation: this host has no {tmp_path / 'kvm'}")


async def test_the_outcome_is_kept_until_the_next_boot(tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "acceleration.json"
    fast = program("print('{\"microseconds\": 100}')")
    assert (
        await probe_acceleration(cache, device=NULL, kvm=kvm(KvmKind.HARDWARE), command=fast)
    ).name == "kvm"
    broken = program("raise SystemExit(1)")
    assert (
        await probe_acceleration(cache, device=NULL, kvm=kvm(KvmKind.HARDWARE), command=broken)
    ).name == "kvm", "from the cache"
    kept = json.loads(cache.read_text())
    cache.write_text(json.dumps({**kept, "key": "another boot"}))
    assert (
        await probe_acceleration(cache, device=NULL, kvm=kvm(KvmKind.HARDWARE), command=broken)
    ).name == "tcg"
    cache.write_text("{")
    assert (
        await probe_acceleration(cache, device=NULL, kvm=kvm(KvmKind.HARDWARE), command=fast)
    ).name == "kvm"

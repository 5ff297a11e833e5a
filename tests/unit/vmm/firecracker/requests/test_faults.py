from __future__ import annotations

import signal

import pytest

from emberbox.errors import VmmRefused
from emberbox.vmm.firecracker.requests.faults import FirecrackerFault, explain_exit, explain_fault, harmless


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("Error creating KVM object: Permission denied (os error 13)", "may not use /dev/kvm"),
        ("Failed to open /dev/kvm: No such file or directory (os error 2)", "kvm_intel"),
        ("Cannot open /dev/kvm: No such device (os error 19)", "kvm_intel"),
        ("Load snapshot error: Unsupported snapshot version: 8.0.0", "build the template anew"),
        ("Failed to restore: invalid format version 7", "another Firecracker release"),
        ("Failed to load snapshot state from file: Invalid magic value", "is damaged"),
        ("Failed to load snapshot state from file: CRC64 validation failed", "is damaged"),
        ("load guest memory: Error creating guest memory from file: the file has another size", "is damaged"),
        (
            "Cannot save the microVM state: Operation not allowed: the microVM is not paused",
            "a paused machine",
        ),
        ("CPU vendor mismatched between source and destination", "another CPU model"),
        ("Failed to set all KVM MSRs for this vCPU. Only a partial write was done.", "another CPU model"),
        ("Cannot create the vsock backend: cannot bind: Address in use (os error 98)", "fresh folder"),
        ("unknown field `clock_realtime`, expected one of `a` at line 1 column 9", "too old"),
        ("Invalid request method and/or path: PUT hotplug/memory.", "too old"),
        (
            "Request payload with size 60000 is larger than the limit of 51200 allowed by server.",
            "51,200 bytes",
        ),
        ("The requested operation is not supported after starting the microVM.", "before the machine starts"),
        (
            "The requested operation is not supported before starting the microVM.",
            "only once the machine runs",
        ),
        (
            "Loading a microVM snapshot not allowed after configuring boot-specific resources.",
            "fresh process",
        ),
        (
            "Open tap device failed: Resource busy (os error 16), Invalid TUN/TAP tap7",
            "in use by another machine",
        ),
        ("Open tap device failed: No such device (os error 19), Invalid TUN/TAP tap7", "TAP device exists"),
        ("Cannot write memory file: No space left on device (os error 28)", "disk is full"),
        ("Cannot create mmap region: Cannot allocate memory (os error 12)", "too little memory"),
        ("Too many open files (os error 24)", "limit of open files"),
        ("Unable to open the block device: Permission denied (os error 13)", "owner and rights"),
        (
            "The kernel file cannot be opened: No such file or directory (os error 2)",
            "not in the machine's jail",
        ),
    ],
)
def test_a_fault_with_known_advice(message: str, advice: str) -> None:
    told = explain_fault("PUT /x", message)
    assert told.startswith(f"Firecracker refused PUT /x: {message.rstrip('.')}. ")
    assert advice in told


@pytest.mark.parametrize(
    "message",
    [
        "The balloon is too proud.",
        "os error 120",
        "mtap",
        "",
        "The MAC address is already in use: 02:00:00:00:00:01",
        "An error occurred when deserializing the json body of a request: missing field `snapshot_path` at "
        "line 1",
    ],
)
def test_what_is_not_known_is_told_as_it_is(message: str) -> None:
    assert (
        explain_fault("PUT /x", message)
        == f"Firecracker refused PUT /x: {message.rstrip('.') or 'it did not say why'}"
    )


def test_a_fault_is_one_of_the_tree() -> None:
    fault = FirecrackerFault("PUT /vsock", 400, "Address in use")
    assert isinstance(fault, VmmRefused)
    assert (fault.code, fault.http_status) == ("vmm_refused", 400)
    assert (fault.request, fault.fault_message) == ("PUT /vsock", "Address in use")


@pytest.mark.parametrize(
    "message",
    [
        "Balloon update error: Balloon: Device not activated yet.",
        "Memory hotplug update error: Failed to create memory hotplug device: Device is not active",
    ],
)
def test_what_comes_before_the_guests_driver_is_told_apart(message: str) -> None:
    assert FirecrackerFault("PATCH /balloon", 400, message).too_early
    assert "once the guest has booted" in explain_fault("PATCH /balloon", message)
    assert not FirecrackerFault("PATCH /balloon", 400, "Balloon update error: too large").too_early


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (0, "panicked"),
        (1, "set up"),
        (2, "report"),
        (148, "seccomp"),
        (149, "SIGBUS"),
        (150, "SIGSEGV"),
        (151, "SIGXFSZ"),
        (152, "configuration"),
        (153, "command line"),
        (154, "SIGXCPU"),
        (156, "SIGHUP"),
        (157, "SIGILL"),
        (-signal.SIGKILL, "for its use of memory"),
        (128 + signal.SIGKILL, "for its use of memory"),
        (-signal.SIGABRT, "SIGABRT"),
        (128 + signal.SIGTERM, "SIGTERM"),
        (77, "none of its own"),
        (255, "none of its own"),
        (-4000, "none of its own"),
    ],
)
def test_what_an_exit_code_means(code: int, says: str) -> None:
    assert says in explain_exit(code, "")
    assert explain_exit(code, "").isprintable()


def test_the_last_words_are_told_with_what_helps() -> None:
    told = explain_exit(
        1, "starting\n[ERROR] Failed to open /dev/kvm:\x1b[2J Permission denied (os error 13)\n\n"
    )
    assert "It said last: [ERROR] Failed to open /dev/kvm:" in told
    assert "may not use /dev/kvm" in told
    assert told.isprintable()


def test_after_a_signal_old_words_give_no_advice() -> None:
    assert "fresh folder" not in explain_exit(-signal.SIGKILL, "Address in use (os error 98)")


def test_a_guest_that_ends_by_itself_needs_no_words() -> None:
    assert "said" not in explain_exit(0, "Vmm is stopping.")


@pytest.mark.parametrize("noise", ["kvm", "tap busy ", "\n", "a", "permission denied", "deserialize "])
def test_any_amount_of_words_takes_little_time(noise: str) -> None:
    # What took the square of the length would take hours.
    explain_fault("PUT /x", noise * 200_000)
    assert len(explain_exit(1, noise * 200_000)) < 1000


def test_what_steers_a_terminal_is_written_out() -> None:
    assert harmless("a\x1b[31m\n\u202eb\udc80é") == "a\\x1b[31m\\x0a\\u202eb\\udc80é"

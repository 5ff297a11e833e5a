"""A boot that computes, that sleeps, and that is kept from the processor, told apart by its threads."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from emberbox.vmm.process.vital_signs import ThreadReading, VitalSigns, read_threads


def follow(*samples: dict[int, ThreadReading], passed_s: float = 0.5) -> VitalSigns:
    signs = VitalSigns()
    for sample in samples:
        signs.take(sample, passed_s)
    return signs


def one(ran_s: float, waited_s: float = 0.0, state: str = "S") -> dict[int, ThreadReading]:
    return {1: ThreadReading(ran_s, waited_s, state)}


def test_the_busiest_thread_counts_and_not_their_sum() -> None:
    signs = follow(
        {1: ThreadReading(1, 0, "R"), 2: ThreadReading(5, 0, "S")},
        {1: ThreadReading(3, 0, "R"), 2: ThreadReading(6, 0, "S"), 3: ThreadReading(1.5, 0, "R")},
    )
    assert signs.busy_s == 2
    assert signs.idle_s == 0


def test_sleep_without_a_wish_is_idle() -> None:
    assert follow(one(1), one(1.001), one(1.002), one(1.003)).idle_s == 1.5


def test_a_thread_that_waits_for_a_processor_or_a_disk_is_not_idle() -> None:
    for state in "RDT":
        assert follow(one(1), one(1, state=state), one(1, state=state)).idle_s == 0, state
    assert follow(one(1), one(1), one(1, state="R"), one(1)).idle_s == 1, "which is no sign of life either"


def test_the_quiet_moments_of_a_boot_on_a_busy_host_do_not_add_up() -> None:
    """It gets a hundredth of a processor, and sleeps now and then."""
    samples = [one(1)]
    for _ in range(20):
        ran_s, waited_s = samples[-1][1].ran_s, samples[-1][1].waited_s
        samples += [one(ran_s, waited_s), one(ran_s, waited_s, "R"), one(ran_s + 0.005, waited_s + 0.9)]
    assert follow(*samples).idle_s <= 0.5


def test_an_idle_guest_on_a_busy_host_is_idle() -> None:
    """Its timers fire, and each time its thread waits a little for a processor."""
    samples = [one(1 + 0.002 * count, 0.06 * count) for count in range(9)]
    assert follow(*samples).idle_s == 4


def test_computing_ends_idleness() -> None:
    assert follow(one(1), one(1), one(1.2), one(1.2)).idle_s == 0.5


def test_progress_begins_both_anew() -> None:
    signs = follow(one(1), one(9), one(9))
    assert (signs.busy_s, signs.idle_s) == (8, 0.5)
    signs.progress()
    assert (signs.busy_s, signs.idle_s) == (0, 0)
    signs.take(one(10), 0.5)
    assert signs.busy_s == 1


def test_a_reading_that_failed_tells_nothing() -> None:
    signs = follow(one(1), one(1))
    signs.take({}, 100)
    assert (signs.busy_s, signs.idle_s) == (0, 0.5)


def test_a_real_process_is_read_with_its_children() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as parent:
        try:
            signs = VitalSigns()
            deadline = time.monotonic() + 60
            while signs.busy_s < 0.2 and time.monotonic() < deadline:
                time.sleep(0.05)
                signs.take(read_threads(parent.pid), 0.05)
            assert signs.busy_s >= 0.2
            assert parent.pid in read_threads(parent.pid)
        finally:
            os.killpg(parent.pid, 9)
    assert read_threads(parent.pid) == {}

"""The jailer peer's life, from its arguments to the VMM that replaces it."""

from __future__ import annotations

import os
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.peers.jailer import arguments, cgroups, jail, linux, mounts
from tests.peers.jailer.arguments import JailerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tests.peers.jailer.arguments import Orders

_DESCRIPTORS = 1 << 20


@dataclass(slots=True)
class Clock:
    """Times in microseconds that the VMM is told: the jailer's start (monotonic, CPU), and its CPU."""

    start_us: int
    start_cpu_us: int
    parent_cpu_us: int = 0


def main(argv: list[str], options: Mapping[str, Any]) -> int:
    """Run as the jailer does.

    Args:
        argv: Arguments, without the program's name.
        options: `version`: what it says it is.

    Returns:
        The exit code, where nothing replaced this process.
    """
    clock = Clock(time.monotonic_ns() // 1000, time.process_time_ns() // 1000)
    os.closerange(3, _DESCRIPTORS)
    os.environ.clear()
    try:
        if "version" in arguments.split(argv)[0]:
            sys.stdout.write(f"Jailer v{options['version']}\n")
            return 0
        return run(arguments.parse(argv), clock)
    except JailerError as error:
        sys.stderr.write(f"{error}\n")
    except OSError as error:
        sys.stderr.write(f"{error.strerror} ({error.filename})\n")
    return 1


def run(orders: Orders, clock: Clock) -> int:
    """Make the jail and become the VMM in it.

    Raises `JailerError` and `OSError`, with what was made left as it is.
    """
    orders.root.mkdir(parents=True, exist_ok=True)
    jail.copy_program(orders.exec_file, orders.root / orders.exec_file.name, orders.uid, orders.gid)
    if orders.netns is not None:
        linux.enter_namespace(orders.netns, linux.CLONE_NEWNET)
    _limit(orders)
    cgroups.enter(orders)
    null = os.open("/dev/null", os.O_RDWR) if orders.daemonize else None
    faults_minor = jail.userfaultfd_minor()
    jail.change_root(orders.root)
    jail.make_folders(orders.uid, orders.gid)
    jail.make_devices(orders.uid, orders.gid, faults_minor)
    if null is not None:
        _daemonize(null)
    return _start(orders, clock)


def _limit(orders: Orders) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (orders.open_files, orders.open_files))
    if orders.file_bytes is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        soft = orders.file_bytes if hard == resource.RLIM_INFINITY else min(orders.file_bytes, hard)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _daemonize(null: int) -> None:
    os.setsid()
    for stream in range(3):
        os.dup2(null, stream)
    os.close(null)


def _start(orders: Orders, clock: Clock) -> int:
    pid_file = f"/{orders.exec_file.name}.pid"
    if not orders.new_pid_ns:
        jail.write_pid(pid_file, os.getpid())
        _become(orders, clock)
    clock.parent_cpu_us = time.process_time_ns() // 1000 - clock.start_cpu_us
    linux.unshare(linux.CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        clock.start_cpu_us = 0
        _become(orders, clock)
    jail.write_pid(pid_file, child)
    return 0


def _become(orders: Orders, clock: Clock) -> NoReturn:
    mounts.mount_proc()
    os.setgroups([])
    os.setgid(orders.gid)
    os.setuid(orders.uid)
    program = f"/{orders.exec_file.name}"
    command = ["--id", orders.id, "--start-time-us", str(clock.start_us)]
    command += [
        "--start-time-cpu-us",
        str(clock.start_cpu_us),
        "--parent-cpu-time-us",
        str(clock.parent_cpu_us),
    ]
    interpreter = _interpreter(program)
    # The kernel would put a script's interpreter first in its command line, by which VMMs are found again.
    os.execve(interpreter[0], [program, *interpreter[1:], *command, *orders.extra], {})  # noqa: S606 (this process becomes it)


def _interpreter(program: str) -> list[str]:
    """Return what a script's first line names, with its option and the script."""
    with Path(program).open("rb") as script:
        first = script.readline(256).decode("utf-8", "replace")
    return [*first[2:].split(), program] if first.startswith("#!") else [program]

"""Looks at a live VMM from outside. Every check must fail for a VMM that is not confined."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox.bounds import UID_BASE, UID_COUNT
from emberbox.runtimes import builtin_folder, discover
from emberbox.vmm.process.cgroup import Cgroups
from emberbox.vmm.qemu.driver import QemuDriver
from tests.e2e.vmm_guests import machine_spec, no_machine_left, talk
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from emberbox.images import ImageStore
    from emberbox.vmm.base import Machine

HOST_FILES = (
    "etc/passwd",
    "etc/shadow",
    "root",
    "home",
    "usr/bin/bash",
    "bin/sh",
    "sys/kernel",
    "dev/null",
    "var",
    "tmp/pytest-of-root",
)


def status(machine: Machine) -> dict[str, str]:
    lines = Path(f"/proc/{machine.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def filters_system_calls(machine: Machine) -> None:
    assert status(machine)["Seccomp"] == "2"


def gains_no_rights(machine: Machine) -> None:
    assert status(machine)["NoNewPrivs"] == "1"


def has_no_capability(machine: Machine) -> None:
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status(machine)[name], 16) == 0, name


def has_a_uid_of_its_own(machine: Machine) -> None:
    expected = status(machine)["Uid"].split()[0]
    assert UID_BASE < int(expected) < UID_BASE + UID_COUNT
    assert set(status(machine)["Uid"].split()) == {expected}
    assert set(status(machine)["Gid"].split()) == {expected}
    assert status(machine)["Groups"] == ""


def namespace_is_its_own(kind: str) -> Callable[[Machine], None]:
    def check(machine: Machine) -> None:
        theirs, ours = (Path(f"/proc/{who}/ns/{kind}").readlink() for who in (machine.pid, "self"))
        assert theirs != ours

    check.__name__ = f"{kind}_namespace_is_its_own"
    return check


def host_file_is_hidden(name: str) -> Callable[[Machine], None]:
    def check(machine: Machine) -> None:
        assert not Path(f"/proc/{machine.pid}/root/{name}").exists()

    check.__name__ = f"hides_{name.replace('/', '_')}"
    return check


def sees_nothing_writable(machine: Machine) -> None:
    for line in Path(f"/proc/{machine.pid}/mountinfo").read_text().splitlines():
        point, options = line.split()[4:6]
        assert point.startswith("/proc") or "ro" in options.split(","), line


def has_no_network_but_loopback(machine: Machine) -> None:
    devices = [
        line.split(":")[0].strip()
        for line in Path(f"/proc/{machine.pid}/net/dev").read_text().splitlines()[2:]
    ]
    assert devices == ["lo"]
    assert len(Path(f"/proc/{machine.pid}/net/route").read_text().splitlines()) <= 1


def limits(machine: Machine) -> dict[str, list[str]]:
    lines = Path(f"/proc/{machine.pid}/limits").read_text().splitlines()[1:]
    return {line[:25].strip(): line[25:].split()[:2] for line in lines}


def is_bounded(name: str, value: int) -> Callable[[Machine], None]:
    def check(machine: Machine) -> None:
        assert limits(machine)[name] == [str(value), str(value)]

    check.__name__ = f"bounds_{name.replace(' ', '_').lower()}"
    return check


def is_in_its_control_group(machine: Machine) -> None:
    groups = Cgroups()
    if not groups.prepare():
        pytest.skip(groups.reason)
    (name,) = groups.names(machine.spec.id)
    for folder in groups.find(name).folders:
        assert str(machine.pid) in (folder / "cgroup.procs").read_text().split(), folder
    memory = groups.find(name).folders[0]
    bound = memory / ("memory.max" if groups.unified else "memory.limit_in_bytes")
    assert int(bound.read_text()) == (machine.spec.memory_mib + 192) * 1024 * 1024


CHECKS = [
    filters_system_calls,
    gains_no_rights,
    has_no_capability,
    has_a_uid_of_its_own,
    *(namespace_is_its_own(kind) for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup")),
    *(host_file_is_hidden(name) for name in HOST_FILES if Path("/", name).exists()),
    sees_nothing_writable,
    has_no_network_but_loopback,
    *(
        is_bounded(name, value)
        for name, value in (
            ("Max core file size", 0),
            ("Max open files", 256),
            ("Max locked memory", 0),
            ("Max msgqueue size", 0),
            ("Max file size", 262_144),
            ("Max processes", 65),
        )
    ),
    is_in_its_control_group,
]
AS_ROOT_ONLY = {"has_no_capability", "has_a_uid_of_its_own", "bounds_max_processes"}


@pytest.fixture(autouse=True)
def nothing_left_behind() -> None:
    """Stands in for the engines' fixture of that name; the machines here live as long as the module."""


@pytest_asyncio.fixture(scope="module", params=[True, False], ids=["confined", "unconfined"])
async def machine(
    request: pytest.FixtureRequest,
    images: ImageStore,
    data_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Machine]:
    (python,) = (runtime for runtime in discover([builtin_folder()]) if runtime.name == "python")
    image = images.find(python)
    assert image is not None
    driver = QemuDriver(data_folder / "vmm", confine=request.param)
    started = await driver.start(machine_spec(image, tmp_path_factory.mktemp("confinement")))
    started.confined = request.param  # type: ignore[attr-defined]
    async with talk(started) as client:
        await client.hello(timeout_s=PATIENCE_S)
    yield started
    await started.kill()
    no_machine_left()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_confinement(machine: Machine, check: Callable[[Machine], None]) -> None:
    if check.__name__ in AS_ROOT_ONLY and os.geteuid() != 0:
        pytest.skip("only root can give a VMM a uid of its own")
    if machine.confined:  # type: ignore[attr-defined]
        check(machine)
    else:
        with pytest.raises((AssertionError, ValueError)):
            check(machine)


def test_the_test_itself_is_not_confined() -> None:
    assert Path("/etc/passwd").exists()
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 256

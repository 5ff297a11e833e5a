"""Runs all probes and checks. Problems of Emberbox's own parts become findings, never an exception."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.bounds import UID_COUNT
from emberbox.doctor import probes
from emberbox.doctor.checks import host, machines, stock
from emberbox.doctor.checks.drivers import look_at_drivers
from emberbox.doctor.finding import Finding, Level, Row, problem_of
from emberbox.errors import EmberboxError
from emberbox.images.tools.requirements import REQUIREMENTS, which
from emberbox.vmm.process.host_memory import memory_within_bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.config import Settings
    from emberbox.doctor.trials.machine import MachineTrial
    from emberbox.images import Requirement


async def diagnose(settings: Settings) -> list[Finding]:
    """Look at everything that running programs needs, in an order for people.

    Takes a second or two; safe to repeat.
    What is told to be fine was done: a VM is started, shut in, looked at and ended; nothing of it stays.

    Args:
        settings: Where the data lies and which driver is asked for.
    """
    basics, drivers, data = await asyncio.gather(
        asyncio.to_thread(_host), look_at_drivers(settings), asyncio.to_thread(_data, settings)
    )
    confined, images, sources = await asyncio.gather(
        look_at_confinement(settings, drivers.trial),
        asyncio.to_thread(_stock, settings, drivers.version),
        look_at_sources(settings),
    )
    built = next(finding for finding in images if finding.key == "images").level is Level.OK
    building = await look_at_building(settings.data, images_built=built)
    listed = stock.check_package_lists(*sources, images_built=built)
    return [*basics, *drivers.findings, *confined, *data, *images, *building, listed]


def _host() -> list[Finding]:
    name = os.uname()
    findings = [
        host.check_system(name.sysname, name.release, name.machine),
        host.check_python(sys.version_info[:3]),
    ]
    memory = memory_within_bounds(*probes.memory_mib(), as_root=probes.is_root())
    return [*findings, host.check_memory(*memory)]


async def look_at_confinement(settings: Settings, trial: MachineTrial | None) -> list[Finding]:
    """Judge how VMMs are shut in and bounded.

    Args:
        settings: VMMs' first uid.
        trial: What became of a VM; None where none was started.
    """
    from emberbox.doctor.trials.group import try_group

    as_root = probes.is_root()
    walls = None if trial is None else trial.walls
    first, count = (settings.vmm.uid_base, UID_COUNT) if as_root else (os.geteuid(), 1)
    namespaces = None if walls is not None else await asyncio.to_thread(probes.shutting_in_problem, first)
    shut_in = machines.check_confinement(
        as_root=as_root,
        setpriv=which("setpriv"),
        namespaces=namespaces,
        sysctls=probes.sysctls(),
        walls=walls,
        uids=range(first, first + count),
    )
    problem = await try_group()
    return [
        shut_in,
        host.check_cgroups(problem, as_root=as_root, bounded=None if walls is None else walls.bounded),
    ]


def _data(settings: Settings) -> list[Finding]:
    state = probes.folder_state(settings.data)
    return [stock.check_data_folder(settings.data, state.problem, state.free_bytes, state.file_system)]


def _stock(settings: Settings, version: str | None) -> list[Finding]:
    return [
        _guarded(stock.AGENT, _agent),
        _guarded(stock.IMAGES, lambda: _images(settings)),
        _guarded(stock.TEMPLATES, lambda: _templates(settings, version)),
    ]


def _agent() -> Finding:
    from emberbox.images.debian.apt import host_architecture
    from emberbox.images.rootfs.initramfs import agent_path

    path = agent_path(host_architecture())
    return stock.check_agent(path, probes.file_size(path), probes.program_problem(path, os.uname().machine))


def _images(settings: Settings) -> Finding:
    from emberbox.runtimes import discover, runtime_folders
    from emberbox.sandbox.kernels import image_store

    store = image_store(settings)
    runtimes = discover(runtime_folders(settings.data, settings.runtimes))
    found = {runtime.name: image for runtime in runtimes if (image := store.find(runtime)) is not None}
    for image in found.values():
        for path in (image.kernel, image.initramfs, image.rootfs):
            probes.read_some(path)
    return stock.check_images(
        [n for n in runtimes.names if n in found], [n for n in runtimes.names if n not in found]
    )


def _templates(settings: Settings, version: str | None) -> Finding:
    from emberbox.sandbox.templates.stored import stored_templates

    records = stored_templates(settings.data / "templates")
    fitting = [record.runtime for record in records if version is None or record.vmm_version == version]
    return stock.check_templates(
        fitting, sum(record.stored_bytes for record in records), others=len(records) - len(fitting)
    )


async def look_at_sources(settings: Settings) -> tuple[str | None, str | None]:
    """Return why apt does not know what images are made of, and what mends it; None and None when it does.

    Args:
        settings: Where runtimes are found, whose releases are asked for.
    """
    from emberbox.images.debian.suites import find_suite
    from emberbox.runtimes import discover, runtime_folders

    try:
        runtimes = discover(runtime_folders(settings.data, settings.runtimes))
        with tempfile.TemporaryDirectory(prefix="emberbox-") as folder:
            for suite in sorted({runtime.image.suite for runtime in runtimes}):
                await find_suite(suite, Path(folder))
    except (EmberboxError, OSError) as error:
        return problem_of(error)
    return None, None


async def look_at_building(data: Path, *, images_built: bool) -> list[Finding]:
    """Judge the programs that build images and the right to, by doing the like. Takes a second.

    Args:
        data: The data folder.
        images_built: Whether some runtime has its image already.
    """
    from emberbox.doctor.trials.building import try_building
    from emberbox.images import BuildNeeds, build_needs

    needs = build_needs()
    # Without numbers or a program, the trial would only say the same in other words.
    problem = BuildNeeds(files=needs.files).problem() or await try_building(data)
    broken = await asyncio.to_thread(_broken)
    return [
        stock.check_build_tools(needs.programs, broken, images_built=images_built),
        stock.check_build_rights(problem, BuildNeeds(files=needs.files).mend(), images_built=images_built),
    ]


def _broken() -> list[Requirement]:
    programs = [(requirement, requirement.find()) for requirement in REQUIREMENTS if not requirement.files]
    return [requirement for requirement, path in programs if path is not None and not probes.runs(path)]


def _guarded(row: Row, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (EmberboxError, OSError) as error:
        found, mend = problem_of(error)
        return row.missing(found, mend=mend)

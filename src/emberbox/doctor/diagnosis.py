"""Runs all probes and checks. Problems of Emberbox's own parts become findings, never an exception."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from emberbox.doctor import host, machines, probes, stock
from emberbox.doctor.drivers import look_at_drivers
from emberbox.doctor.finding import Finding, Level
from emberbox.errors import EmberboxError, RequirementMissing

if TYPE_CHECKING:
    from collections.abc import Callable

    from emberbox.config import Settings


async def diagnose(settings: Settings) -> list[Finding]:
    """Look at everything that running programs needs, in an order for people. Takes a second or two; safe to repeat.

    Args:
        settings: Where the data lies and which driver is asked for.
    """
    groups = await asyncio.gather(
        asyncio.to_thread(_host),
        look_at_drivers(settings),
        asyncio.to_thread(_confinement),
        asyncio.to_thread(_stock, settings),
    )
    return [finding for group in groups for finding in group]


def _host() -> list[Finding]:
    name = os.uname()
    findings = [host.check_system(name.sysname, name.release, name.machine), host.check_python(sys.version_info[:3])]
    return [*findings, host.check_memory(*probes.memory_mib())]


def _confinement() -> list[Finding]:
    as_root = probes.is_root()
    namespaces = None if as_root else probes.namespaces_problem(probes.find("bwrap"))
    shut_in = machines.check_confinement(
        as_root=as_root, setpriv=probes.find("setpriv"), namespaces=namespaces, sysctls=probes.sysctls()
    )
    return [shut_in, _guarded("cgroups", "Control groups", lambda: _cgroups(as_root))]


def _cgroups(as_root: bool) -> Finding:
    from emberbox.vmm.cgroup import Cgroups

    groups = Cgroups()
    return host.check_cgroups(groups.prepare(), groups.reason, as_root=as_root)


def _stock(settings: Settings) -> list[Finding]:
    state = probes.folder_state(settings.data)
    findings = [stock.check_data_folder(settings.data, state.problem, state.free_bytes, state.file_system)]
    findings.append(_guarded("agent", "Guest agent", _agent))
    images = _guarded("images", "Images", lambda: _images(settings))
    findings += [images, _guarded("templates", "Templates", lambda: _templates(settings))]
    return [*findings, *_building(images)]


def _agent() -> Finding:
    from emberbox.images.apt import host_architecture
    from emberbox.images.initramfs import agent_path

    path = agent_path(host_architecture())
    return stock.check_agent(path, probes.file_size(path))


def _images(settings: Settings) -> Finding:
    from emberbox.images import ImageStore
    from emberbox.runtimes import discover, runtime_folders

    store = ImageStore(settings.data / "images")
    runtimes = discover(runtime_folders(settings.data, settings.runtimes))
    built = {runtime.name for runtime in runtimes if store.find(runtime) is not None}
    return stock.check_images([n for n in runtimes.names if n in built], [n for n in runtimes.names if n not in built])


def _templates(settings: Settings) -> Finding:
    from emberbox.sandbox.stored_templates import stored_templates

    records = stored_templates(settings.data / "templates")
    return stock.check_templates([record.runtime for record in records], sum(record.stored_bytes for record in records))


def _building(images: Finding) -> list[Finding]:
    from emberbox.images import missing_requirements
    from emberbox.images.rootfs import check_subordinate_users

    as_root = probes.is_root()
    problem: RequirementMissing | None = None
    if not as_root:
        try:
            check_subordinate_users()
        except RequirementMissing as error:
            problem = error
    all_built = images.level is Level.OK
    return [
        stock.check_build_tools(missing_requirements(), images_built=all_built),
        stock.check_build_rights(
            as_root=as_root,
            problem=None if problem is None else problem.message.partition("\n")[0],
            mend=None if problem is None else problem.mend,
        ),
    ]


def _guarded(key: str, title: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except (EmberboxError, OSError) as error:
        mend = error.mend if isinstance(error, RequirementMissing) else None
        return Finding(key=key, title=title, level=Level.MISSING, found=str(error).partition("\n")[0], mend=mend)

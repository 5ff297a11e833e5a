"""Packages that cannot be had, and packages that a manifest names.

The build VMs are real, and the test serves the index.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from emberbox import Engine
from emberbox.config import PackageSettings
from emberbox.errors import PackagesFailed
from emberbox.model import RunStatus
from emberbox.runtimes import MANIFEST_NAME, builtin_folder
from tests.e2e.conftest import run_entries
from tests.e2e.package_index import PackageIndex, served, source, wheel
from tests.e2e.services import ServiceProcess, service_folder
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    import httpx

    from emberbox import Settings
    from emberbox.images import ImageStore

pytestmark = pytest.mark.timeout(1200)

ENDLESS = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(1)\n"
LIMIT_S = 12


@pytest.fixture(scope="module")
def index() -> Iterator[PackageIndex]:
    packages = (wheel("emberdemo", {"emberdemo.py": "VALUE = 42\n"}), source("endless", ENDLESS))
    with served(PackageIndex(*packages)) as running:
        yield running


def bakery(folder: Path, name: str, requirement: str) -> Path:
    """Write a runtime that is Python with one package baked in; returns its folder's parent.

    It shares Python's image.
    """
    shutil.copytree(builtin_folder() / "python", folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    manifest = folder / name / MANIFEST_NAME
    text = manifest.read_text().replace('name = "python"', f'name = "{name}"')
    kept = [line for line in text.splitlines() if not line.startswith(("aliases", "extensions"))]
    manifest.write_text("\n".join(kept).replace("[image]", f'[image]\npip = ["{requirement}"]') + "\n")
    return folder


@pytest_asyncio.fixture
async def baker(
    settings: Settings, images: ImageStore, index: PackageIndex, tmp_path: Path
) -> AsyncIterator[Engine]:
    """An engine with two runtimes that have a package baked in: one that exists, and one that does not."""
    for name, requirement in (("baked", "emberdemo==1.0"), ("ghostly", "no-such-package==1.0")):
        bakery(tmp_path / "runtimes", name, requirement)
    packages = PackageSettings(pip_index=index.address, memory_mib=512, disk_mib=256)
    async with Engine(replace(settings, packages=packages, runtimes=(tmp_path / "runtimes",))) as running:
        yield running


async def test_a_package_that_a_manifest_names_is_in_every_run(baker: Engine) -> None:
    result = await baker.run("import emberdemo; print(emberdemo.VALUE)", runtime="baked", cold=True)
    assert (result.stdout, result.stderr) == ("42\n", "")


async def test_a_package_that_a_manifest_names_and_nobody_has_is_told_by_its_name(baker: Engine) -> None:
    with pytest.raises(PackagesFailed, match=r"names in image\.pip: .*no-such-package==1\.0"):
        await baker.template("ghostly")
    assert baker.machines == 0


async def test_a_package_with_another_hash_is_refused_in_pips_words(baker: Engine) -> None:
    wanted = f"emberdemo==1.0 --hash=sha256:{'0' * 64}\n"
    result = await baker.run("print(1)", runtime="python", packages=wanted)
    assert (result.status, result.stdout) == (RunStatus.PACKAGES_FAILED, "")
    assert result.packages is not None
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in result.packages.output
    assert "0" * 64 in (result.message or ""), "the message tells which package, and which hash was expected"
    assert "emberdemo==1.0" in (result.message or "")


async def test_a_job_whose_packages_never_end_installing_is_ended(
    tmp_path: Path, data_folder: Path, images: ImageStore, index: PackageIndex
) -> None:
    """Its client sees that it runs and that its program has not begun, then what became of it."""
    service = ServiceProcess(
        service_folder(tmp_path / "service", data_folder),
        EMBERBOX_PACKAGES_PIP_INDEX=index.address,
        EMBERBOX_PACKAGES_TIMEOUT_S=str(LIMIT_S),
        EMBERBOX_PACKAGES_MEMORY_MIB="512",
        EMBERBOX_PACKAGES_DISK_MIB="256",
        EMBERBOX_POOL_MAXIMUM="0",
    )
    await service.start()
    try:
        async with service.client(await service.ready()) as client:
            files = {"requirements.txt": "--no-binary :all:\nendless==1.0\n"}
            asked = await client.post(
                "/v1/jobs", json={"runtime": "python", "code": "print(1)", "files": files}
            )
            assert asked.status_code == 202, asked.text
            path = f"/v1/jobs/{asked.json()['id']}"
            job = await _until_running(client, path)
            assert (job["status"], job["times"]["started_at"]) == ("running", None), job
            job = (await client.get(path, params={"wait": "180"}, timeout=2 * PATIENCE_S)).json()
        assert (job["status"], job["reason"]) == ("failed", "packages_failed")
        assert job["message"] == f"pip did not end within {LIMIT_S} s (packages.timeout_s)"
        assert (job["stdout"], job["times"]["started_at"]) == ("", None)
        assert run_entries(service.data) == set()
    finally:
        assert await service.stop() == 0
        await service.end()


async def _until_running(
    client: httpx.AsyncClient, path: str, timeout_s: float = PATIENCE_S
) -> dict[str, Any]:
    begun = time.monotonic()
    while True:
        job: dict[str, Any] = (await client.get(path)).json()
        if job["status"] != "queued" or time.monotonic() - begun > timeout_s:
            return job
        await asyncio.sleep(0.1)

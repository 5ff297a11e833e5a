"""Packages that scripts bring along, installed by real build VMs from an index that the test serves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox import Engine
from emberbox.config import PackageSettings
from emberbox.errors import PackagesFailed
from emberbox.model import RunStatus
from tests.e2e.package_index import PackageIndex, served, source, wheel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from emberbox import Settings
    from emberbox.images import ImageStore

pytestmark = pytest.mark.timeout(1200)

HOSTILE = """
import os, socket, urllib.request
os.makedirs("/work/layer/etc", exist_ok=True)
open("/work/layer/etc/passwd", "w").write("root")
for address in ("http://169.254.169.254/latest", "http://127.0.0.1:22/"):
    try:
        urllib.request.urlopen(address, timeout=10)
    except Exception as error:
        print("REFUSED", address, error)
try:
    socket.create_connection(("10.0.2.2", 80), timeout=3)
except OSError as error:
    print("NO NETWORK", error)
from setuptools import setup
setup(name="hostile", version="1.0", py_modules=[])
"""


@pytest.fixture(scope="module")
def index() -> Iterator[PackageIndex]:
    packages = (wheel("emberdemo", {"emberdemo.py": "VALUE = 42\n"}), source("hostile", HOSTILE))
    with served(PackageIndex(*packages)) as running:
        yield running


@pytest_asyncio.fixture
async def builder(settings: Settings, images: ImageStore, index: PackageIndex) -> AsyncIterator[Engine]:
    """An engine whose build VMs know the test's index."""
    packages = PackageSettings(pip_index=index.address, memory_mib=512, disk_mib=256)
    async with Engine(replace(settings, packages=packages)) as running:
        yield running


async def test_packages_are_installed_once_and_are_there_in_every_run(
    builder: Engine, index: PackageIndex
) -> None:
    program = "import emberdemo; print(emberdemo.VALUE, emberdemo.__file__)"
    first, second = await asyncio.gather(
        *(builder.run(program, runtime="python", packages={"pip": ["emberdemo==1.0"]}) for _ in range(2))
    )
    for result in (first, second):
        assert result.stdout == "42 /usr/local/lib/python3.11/dist-packages/emberdemo.py\n", (
            result.stderr or result.message
        )
    assert first.packages is not None
    assert second.packages is not None
    assert sorted([first.packages.reason, second.packages.reason]) == ["cached", "installed"]
    assert "Successfully installed emberdemo-1.0" in first.packages.output
    assert index.asked.count("/files/emberdemo-1.0-py3-none-any.whl") == 1


async def test_a_package_that_does_not_exist_is_told_by_its_name(builder: Engine) -> None:
    result = await builder.run("print(1)", runtime="python", packages="emberdemo==1.0\nno-such-package\n")
    assert result.status is RunStatus.PACKAGES_FAILED
    assert result.packages is not None
    assert result.packages.reason == "failed"
    assert "no-such-package" in (result.message or "")


async def test_hostile_code_of_a_package_reaches_nothing_and_its_layer_is_refused(builder: Engine) -> None:
    with pytest.raises(PackagesFailed, match="outside of /usr/local") as caught:
        await builder.open_sandbox("python", packages="--no-binary :all:\nhostile==1.0\n", scope="somebody")
    assert caught.value.result.reason == "refused"

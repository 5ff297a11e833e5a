"""Jobs bring packages along: what the engine is asked for, and what is told when they cannot be had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from emberbox.errors import PackagesFailed
from emberbox.model import PackagesResult
from emberbox.service.service import Service
from emberbox.testing.engine import HostEngine
from tests.integration.jobs_api.speaking import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from emberbox.config import Settings


class _Engine(HostEngine):
    """Has all packages but those that are named `broken`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.asked: list[Any] = []

    async def open_sandbox(self, *args: Any, packages: Any = None, **options: Any) -> Any:
        self.asked.append(packages and dict(packages.files))
        if packages is not None and b"broken" in packages.files["requirements.txt"]:
            raise PackagesFailed(
                PackagesResult(
                    ok=False,
                    reason="failed",
                    tool="pip",
                    output_data=b"ERROR: no broken\n",
                    message="pip: no broken",
                )
            )
        sandbox = await super().open_sandbox(*args, packages=packages, **options)
        if packages is not None:
            sandbox.packages = PackagesResult(ok=True, reason="installed", tool="pip", wall_ms=12.5)
        return sandbox


@pytest.fixture
def engine(service_settings: Settings) -> _Engine:
    return _Engine(service_settings)


@pytest.fixture
async def service(service_settings: Settings, engine: _Engine) -> AsyncIterator[Service]:
    async with Service(service_settings, engine=engine) as started:
        yield started


async def test_a_job_without_such_a_file_asks_for_nothing(
    app_client: httpx.AsyncClient, engine: _Engine
) -> None:
    job = await run(
        app_client, "print(1)", files={"requirements.txt": "# nothing\n", "data/requirements.txt": "six\n"}
    )
    assert (job["status"], engine.asked[-1], job["metrics"]["packages_ms"]) == ("succeeded", None, 0)


async def test_the_file_beside_the_code_is_what_is_asked_for(
    app_client: httpx.AsyncClient, engine: _Engine
) -> None:
    job = await run(app_client, "print(1)", files={"requirements.txt": "six==1.16.0\n"})
    assert job["stdout"] == "1\n"
    assert engine.asked[-1] == {"requirements.txt": b"six==1.16.0\n"}
    assert job["metrics"]["packages_ms"] == 12.5


async def test_a_language_without_packages_takes_the_file_for_any_other(
    app_client: httpx.AsyncClient, engine: _Engine
) -> None:
    job = await run(app_client, "cat requirements.txt", runtime="bash", files={"requirements.txt": "six\n"})
    assert (job["stdout"], engine.asked[-1]) == ("six\n", None)


async def test_packages_that_cannot_be_installed_are_the_jobs_error(app_client: httpx.AsyncClient) -> None:
    job = await run(app_client, "print(1)", files={"requirements.txt": "broken\n"})
    assert (job["status"], job["reason"], job["message"]) == ("failed", "packages_failed", "pip: no broken")
    assert (job["stdout"], job["stderr"]) == ("", "ERROR: no broken\n")
    assert job["times"]["started_at"] is None

"""Fixtures of the database and the service. A test that takes `database_url` runs on both databases."""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from emberbox.config import QuotaSettings, Settings, StoreSettings, WebhookSettings
from emberbox.store import Database
from emberbox.store.migrate import upgrade
from emberbox.store.tables import FIRST_TEAM
from tests.integration.postgres import find_programs, postgres_server
from tests.integration.serving import serving
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    import httpx
    from fastapi import FastAPI

    from emberbox.service.service import Service

_numbers = itertools.count(1)


# -- databases -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Postgres:
    """A server of our own; `socket` is the folder of its socket."""

    socket: Path

    def url(self, name: str) -> str:
        return f"postgresql+asyncpg://tests@/{name}?host={self.socket}"

    @asynccontextmanager
    async def database(self, options: str = "") -> AsyncIterator[str]:
        """A database for one test."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        await self.execute(f"CREATE DATABASE {name} {options}")
        yield self.url(name)
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def execute(self, statement: str) -> None:
        import asyncpg  # type: ignore[import-untyped]

        connection = await asyncpg.connect(host=str(self.socket), user="tests", database="postgres")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for the whole run."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    with postgres_server(programs) as socket:
        yield Postgres(socket)


@pytest.fixture(scope="session")
async def postgres_template(postgres: Postgres) -> str:
    """The name of a database with the schema of today, to be copied."""
    await postgres.execute("CREATE DATABASE ready")
    await upgrade(postgres.url("ready"))
    return "ready"


@pytest.fixture(scope="session")
async def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the schema of today, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "ready.db"
    await upgrade(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Which database the test runs on."""
    kind: str = request.param
    return kind


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh SQLite database with the schema of today."""
    shutil.copy(sqlite_template, tmp_path / "service.db")
    return f"sqlite+aiosqlite:///{tmp_path / 'service.db'}"


@pytest.fixture
async def postgresql_url(postgres: Postgres, postgres_template: str) -> AsyncIterator[str]:
    """A fresh PostgreSQL database with the schema of today."""
    async with postgres.database(f"TEMPLATE {postgres_template}") as url:
        yield url


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest) -> str:
    """A fresh database with the schema of today, and nothing in it."""
    url: str = request.getfixturevalue(f"{database_kind}_url")
    return url


@pytest.fixture
async def empty_postgresql_url(postgres: Postgres) -> AsyncIterator[str]:
    """A fresh PostgreSQL database without tables."""
    async with postgres.database() as url:
        yield url


@pytest.fixture
def empty_database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database without tables."""
    if database_kind == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("empty_postgresql_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A `Database` on `database_url`."""
    db = Database(database_url)
    yield db
    await db.close()


@pytest.fixture(scope="session", autouse=True)
def patient_checks() -> Iterator[None]:
    """Let a part of a service on a busy host take its time to say that it is well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emberbox.service.status.node.CHECK_S", PATIENCE_S)
        yield


@pytest.fixture(scope="session", autouse=True)
def patient_cancelling() -> Iterator[None]:
    """Let an agent on a busy host take its time to end a program."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emberbox.guest.process.CANCEL_S", PATIENCE_S)
        patch.setattr("emberbox.service.jobs.running.runner.CANCEL_S", PATIENCE_S)
        yield


# -- the service ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Served:
    """A service behind a real server on loopback."""

    url: str
    secret: str
    service: Service

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}


@pytest.fixture
def service_settings(tmp_path: Path, database_url: str) -> Settings:
    """The settings of `service`; override it to change them."""
    # Webhooks of tests go to loopback: there is nothing else.
    return replace(
        Settings(data=tmp_path / "data"),
        store=StoreSettings(url=database_url),
        webhooks=WebhookSettings(allow_private=True, retry_s=0.05),
        # One team of a test does not keep half of the places free for another.
        quota=QuotaSettings(worker_share=1.0),
    )


@pytest.fixture
async def service(service_settings: Settings) -> AsyncIterator[Service]:
    """A started service whose jobs are real programs under the real agent, on this host instead of in VMs."""
    from emberbox.service.service import Service
    from emberbox.testing.engine import HostEngine

    async with Service(service_settings, engine=HostEngine(service_settings)) as started:
        yield started


@pytest.fixture
def make_key(service: Service) -> Callable[..., Awaitable[str]]:
    """Make a key: `await make_key("run", name="ci", quota={"burst": 3})` returns its secret.

    It is of the first team, or of a new one by the name of `team`.
    """

    async def make(
        *scopes: str, name: str = "test", quota: dict[str, float] | None = None, team: str | None = None
    ) -> str:
        team_id = FIRST_TEAM if team is None else (await service.teams.create(team)).id
        _, secret = await service.keys.create(name, scopes or ("run",), quota=quota, team_id=team_id)
        return str(secret)

    return make


@pytest.fixture
async def admin_key(make_key: Callable[..., Awaitable[str]]) -> str:
    """The secret of a key with every scope."""
    return await make_key("admin", "operator", name="operator")


@pytest.fixture
def app(service: Service) -> FastAPI:
    """The API on `service`."""
    from emberbox.api.app import create_app

    return create_app(service)


@pytest.fixture
async def app_client(app: FastAPI, admin_key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client that calls the API in this process, with an operator's key.

    It does not stream: use `served` for that.
    """
    import httpx

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {admin_key}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1:8470", headers=headers
    ) as client:
        yield client


@pytest.fixture
async def served(app: FastAPI, service: Service, admin_key: str) -> AsyncIterator[Served]:
    """The API behind a real server on a free loopback port, in this process."""
    async with serving(app) as url:
        yield Served(url, admin_key, service)

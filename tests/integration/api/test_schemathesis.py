"""Every address with values that the description allows, and with such that it forbids.

Schemathesis makes them, with all its checks. The service holds one of everything first, made by
real calls and a real run. Then nothing more is run: what is made up here must not become a program
on this host.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from emberbox.api import auth
from emberbox.api.openapi import document
from emberbox.service.service import Service
from tests.integration.api.refusing import RefusingEngine
from tests.integration.api.samples import make_some_of_each
from tests.integration.serving import serving
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from emberbox.config import Settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

OPTIONS = {
    "sqlite": ["--phases=examples,coverage,fuzzing,stateful", "--max-examples=4"],
    "postgresql": ["--phases=fuzzing", "--max-examples=6"],
}
"""Everything on one database, and on the other what depends on it: how it takes texts and numbers
of all kinds."""
BOUND_S = 1700.0
BEYOND_SCHEMA = {
    "create_key": "whether an expiry lies ahead",
    "update_key": "whether an expiry lies ahead",
    "create_script": "whether two files have the same name, and whether there is a file to run",
    "other_upload": "whether two files have the same name, and whether there is a file to run",
    "submit_job": "whether there is code, the same input is given twice, and limits are within the settings",
    "run_script": "whether the same input is given twice, and limits are within the settings",
    "other_execute": "whether there is code",
    "create_webhook": "whether an address is one that may be called",
    "update_webhook": "whether an address is one that may be called",
    "get_usage": "whether one day is before another",
    "get_logs": "whether an entry of that number was ever there, and what goes together",
    "keep_ready": "whether that many fit",
}
"""Operations that may refuse values which their description allows, and what it has no words for."""


@pytest.fixture
async def engine(service_settings: Settings) -> RefusingEngine:
    return RefusingEngine(service_settings)


@pytest.fixture
async def service(
    service_settings: Settings, engine: RefusingEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Service]:
    monkeypatch.setattr(auth, "FAILURES_AT_ONCE", 1_000_000)
    settings = replace(service_settings, server=replace(service_settings.server, wait_s=0.2))
    async with Service(settings, engine=engine) as started:
        yield started


async def test_nothing_is_found(
    app: FastAPI, service: Service, engine: RefusingEngine, database_kind: str, tmp_path: Path
) -> None:
    _, secret = await service.keys.create("fuzzing", ["admin"], quota={"requests_per_s": 0})
    async with serving(app) as url:
        async with httpx.AsyncClient(
            base_url=url, headers={"X-API-Key": secret}, timeout=PATIENCE_S
        ) as client:
            ids = await make_some_of_each(client, 3)
        engine.refusing = True
        (tmp_path / "schemathesis.toml").write_text(_configuration(ids, document(app)))
        code, output = await _run(url, secret, tmp_path, OPTIONS[database_kind])
    assert code == 0, output[-20_000:]


def _configuration(ids: dict[str, list[str]], description: dict[str, Any]) -> str:
    named = {
        operation["operationId"] for path in description["paths"].values() for operation in path.values()
    }
    assert set(BEYOND_SCHEMA) - named == set()
    lines = ["[parameters]"]
    lines += [f'"path.{name}" = {{ dictionary = "{name}", probability = 0.7 }}' for name in ids]
    lines += [f"[dictionaries.{name}]\nvalues = {json.dumps(values)}" for name, values in ids.items()]
    statuses = json.dumps(["2xx", "3xx", "401", "403", "404", "409", "422", "5xx"])
    lines += [
        "[[operations]]",
        f"include-operation-id = {json.dumps(sorted(BEYOND_SCHEMA))}",
        f"checks.positive_data_acceptance.expected-statuses = {statuses}",
    ]
    return "\n".join(lines)


async def _run(url: str, secret: str, folder: Path, some: list[str]) -> tuple[int, str]:
    program = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        str(folder / "schemathesis.toml"),
        "run",
    ]
    options = ["--checks=all", *some, "--generation-deterministic", "--continue-on-failure", "--no-color"]
    options.append(f"--request-timeout={PATIENCE_S:g}")
    process = await asyncio.create_subprocess_exec(
        *program,
        f"{url}/openapi.json",
        "-H",
        f"Authorization: Bearer {secret}",
        *options,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), BOUND_S)
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, output.decode("utf-8", "replace")

"""`emberbox secrets`: what it tells, and what it leaves."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox.cli.main import main
from emberbox.config import Settings
from emberbox.schemas.jobs import SubmitJob
from emberbox.service.secrets.keys import Key, Keyring
from emberbox.service.secrets.source import KEY_FILE
from tests.integration.secrets.conftest import BODY, settle, starting

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a service that ran, with a job that has two secrets."""
    folder = tmp_path / "data"
    for name in ("EMBERBOX_CONFIG", "EMBERBOX_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EMBERBOX_DATA", str(folder))
    asyncio.run(_once(Settings(data=folder)))
    return folder


async def _once(settings: Settings) -> None:
    async with starting(
        replace(settings, webhooks=replace(settings.webhooks, allow_private=True))
    ) as service:
        _, secret = await service.keys.create("test", ["run"])
        key = await service.keys.authenticate(secret)
        await service.worker.stop(0)
        order = await service.orders.for_code(SubmitJob.model_validate(BODY))
        await service.submission.submit(key, order)


def _ids(data: Path) -> list[str]:
    return [key.id for key in Keyring.parse((data / KEY_FILE).read_text()).keys]


def test_status_rotate_and_prune(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [first] = _ids(data)
    assert main(["secrets", "status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["keys"] == [{"id": first, "rows": 2}]
    assert (told["unreadable"], told["plain_rows"], told["problem"]) == ([], 0, None)

    assert main(["secrets", "rotate"]) == 0
    assert "2 rows are encrypted anew" in capsys.readouterr().err
    second, kept = _ids(data)
    assert kept == first
    assert main(["secrets", "status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"{second} (encrypts; 2 rows)" in lines[0]
    assert f"{first} (only reads; 0 rows)" in lines[1]

    assert main(["secrets", "prune"]) != 0
    assert "a moment ago" in capsys.readouterr().err
    settle(data)
    assert main(["secrets", "prune", "--dry-run"]) == 0
    assert capsys.readouterr().out == f"would remove 1 keys\n  {first}\n"
    assert _ids(data) == [second, first]
    assert main(["secrets", "prune"]) == 0
    assert capsys.readouterr().out == f"removed 1 keys\n  {first}\n"
    assert _ids(data) == [second]


def test_a_lost_key_is_told_with_what_cannot_be_read(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [lost] = _ids(data)
    (data / KEY_FILE).unlink()
    assert main(["secrets", "status"]) == 0
    told = capsys.readouterr().out
    assert "put it back" in told
    assert lost in told
    assert "jobs' secret variables" in told
    assert main(["secrets", "rotate"]) == 0
    assert "2 rows cannot be read" in capsys.readouterr().err
    assert lost not in _ids(data)


def test_keys_of_a_command_are_its_owners(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = Keyring((Key.new(), *Keyring.parse((data / KEY_FILE).read_text()).keys))
    (tmp_path / "ring").write_text(ring.render())
    monkeypatch.setenv("EMBERBOX_SECRETS_KEY_COMMAND", f"cat {tmp_path / 'ring'}")
    assert main(["secrets", "rotate"]) == 0
    assert "2 rows are encrypted anew" in capsys.readouterr().err
    assert main(["secrets", "prune"]) == 0
    told = capsys.readouterr()
    assert "take them out" in told.err
    assert told.out == f"would remove 1 keys\n  {ring.keys[1].id}\n"
    assert (tmp_path / "ring").read_text() == ring.render()

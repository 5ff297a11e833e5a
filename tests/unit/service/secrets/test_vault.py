"""The vault: the keys of now, and what happens without them."""

from __future__ import annotations

import asyncio

import pytest

from emberbox.errors import SecretsUnavailable
from emberbox.service.secrets import vault as vaults
from emberbox.service.secrets.keys import Key
from emberbox.service.secrets.vault import Vault
from tests.patience import PATIENCE_S
from tests.vaults import Given, vault_with

HERE = "webhooks/whk_x/secret"


def test_without_keys_it_fails_where_a_secret_is_needed_alone() -> None:
    vault = Vault(Given())
    for _ in range(2):
        with pytest.raises(SecretsUnavailable):
            vault.seal("a", HERE)
        assert vault.unseal("plain", HERE) == "plain"
        with pytest.raises(SecretsUnavailable):
            vault.unseal(vault_with().seal("a", HERE), HERE)
        vault.load()


def test_keys_that_are_lost_later_stay_good(caplog: pytest.LogCaptureFixture) -> None:
    source = Given(Key.new())
    vault = Vault(source)
    vault.load()
    sealed = vault.seal("geheim", HERE)
    source.keys = ()
    vault.load()
    vault.load()
    assert vault.unseal(sealed, HERE) == "geheim"
    assert [record.action for record in caplog.records] == ["secrets.no_keys"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("cheap", [True, False])
async def test_a_rotation_is_noticed_while_it_runs(cheap: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vaults, "REFRESH_S", 0.01)
    monkeypatch.setattr(vaults, "COMMAND_S", 0.01)
    source = Given(Key.new())
    source.cheap = cheap
    vault = Vault(source)
    vault.load()
    source.keys = (Key.new(), *source.keys)
    sealed = vault_with(source.keys[0]).seal("geheim", HERE)
    task = asyncio.create_task(vault.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    assert vault.unseal(sealed, HERE) == "geheim"
                    break
                except SecretsUnavailable:
                    await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert vault.ring.current == source.keys[0]

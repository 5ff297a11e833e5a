"""Where keys come from."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.config import SecretSettings
from emberbox.errors import InvalidSettings, SecretsUnavailable
from emberbox.service.secrets import source
from emberbox.service.secrets.keys import Key, Keyring
from emberbox.service.secrets.source import KEY_FILE, KeyFile, key_source

if TYPE_CHECKING:
    from pathlib import Path

RING = Keyring((Key.new(), Key.new()))


def _source(data: Path, **settings: Any) -> source.KeySource:
    return key_source(SecretSettings(**settings), data)


def test_by_default_it_is_a_file_of_the_owners_alone(tmp_path: Path) -> None:
    keys = _source(tmp_path)
    assert isinstance(keys, KeyFile)
    assert keys.own
    with pytest.raises(SecretsUnavailable, match="secrets rotate"):
        keys.load()
    keys.begin()
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    made = keys.load()
    keys.begin()
    assert keys.load() == made
    keys.write(RING)
    assert keys.load() == RING


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(RING.render())
    file.chmod(0o640)
    with pytest.raises(SecretsUnavailable, match="chmod 600") as caught:
        _source(tmp_path, key_file=str(file)).load()
    assert str(tmp_path) not in caught.value.message
    file.chmod(0o600)
    assert _source(tmp_path, key_file=str(file)).load() == RING


def test_a_credential_of_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = _source(tmp_path, key_credential="emberbox.keys")
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(SecretsUnavailable, match=r"LoadCredential=emberbox\.keys"):
        keys.load()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(SecretsUnavailable, match="cannot be read"):
        keys.load()
    (tmp_path / "emberbox.keys").write_text(RING.render())
    assert keys.load() == RING


def test_a_command_prints_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "keys").write_text(RING.render())
    assert _source(tmp_path, key_command=f"cat '{tmp_path}/keys'").load() == RING
    for line, told in (
        ("false", "ended with 1"),
        ("/nothing/there", "could not be started"),
        (f"{sys.executable} -c 'print(\"geheim\")'", "is no key"),
        ("true", "there are 0 keys"),
    ):
        with pytest.raises(SecretsUnavailable, match=told) as caught:
            _source(tmp_path, key_command=line).load()
        assert "geheim" not in caught.value.message
    monkeypatch.setattr(source, "COMMAND_S", 0.2)
    with pytest.raises(SecretsUnavailable, match=r"within 0\.2 s"):
        _source(tmp_path, key_command="sleep 60").load()


@pytest.mark.parametrize(
    "settings",
    [
        {"key_file": "keys"},
        {"key_file": "/keys", "key_command": "keys"},
        {"key_credential": "../keys"},
        {"key_command": "cat 'keys"},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(InvalidSettings, match="secrets"):
        SecretSettings(**settings)

"""Saved servers: for their owner alone, whole or not at all."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from emberbox.client.places import LOCAL_SERVER, check_key, check_server, find_place, local_service
from emberbox.client.profiles import Profile, Profiles
from emberbox.errors import InvalidInput, InvalidSettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def profiles(tmp_path: Path) -> Profiles:
    return Profiles.of({"XDG_CONFIG_HOME": str(tmp_path / "config")})


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(tmp_path / "config"), "EMBERBOX_DATA": str(tmp_path / "data")}


def _serve(data: Path, url: str = "http://127.0.0.1:9", pid: int | None = None) -> None:
    data.mkdir(exist_ok=True)
    (data / "service.json").write_text(f'{{"url": "{url}", "pid": {os.getpid() if pid is None else pid}}}')
    (data / "admin.key").write_text("ember_local\n")


def test_only_their_owner_can_read_them(profiles: Profiles) -> None:
    old = os.umask(0)
    try:
        profiles.save(Profile("default", "http://a", "ember_1"))
        profiles.save(Profile("other", "http://b", "ember_2"))
    finally:
        os.umask(old)
    assert stat.S_IMODE(profiles.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(profiles.path.parent.stat().st_mode) == 0o700
    assert list(profiles.path.parent.iterdir()) == [profiles.path]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_can_read_is_refused(profiles: Profiles, mode: int) -> None:
    profiles.save(Profile("default", "http://a", "ember_1"))
    profiles.path.chmod(mode)
    with pytest.raises(InvalidSettings, match="chmod 600"):
        profiles.all()


def test_what_was_saved_comes_back(profiles: Profiles) -> None:
    saved = [Profile("a", "http://a/x\\y", 'ember_"quoted"\\'), Profile("b-2", "https://b:1", None)]
    for profile in saved:
        profiles.save(profile)
    assert profiles.all() == saved
    assert profiles.current() == "b-2"
    profiles.choose("a")
    assert profiles.get() == saved[0]
    profiles.delete("a")
    assert (profiles.all(), profiles.current(), profiles.get()) == (saved[1:], None, None)


@pytest.mark.parametrize(
    "profile", [Profile("", "http://a"), Profile("a.b", "http://a"), Profile("a", "http://a", "x\n[y]")]
)
def test_what_cannot_be_saved_changes_nothing(profiles: Profiles, profile: Profile) -> None:
    profiles.save(Profile("default", "http://a", "ember_1"))
    with pytest.raises(InvalidInput):
        profiles.save(profile)
    assert [one.name for one in profiles.all()] == ["default"]


def test_an_unknown_profile_lists_those_there_are(profiles: Profiles) -> None:
    with pytest.raises(InvalidInput, match="emberbox login"):
        profiles.get("x")
    profiles.save(Profile("home", "http://a"))
    with pytest.raises(InvalidInput, match="here are: home"):
        profiles.get("x")


@pytest.mark.parametrize("content", ["x = ", "profiles = 3", "[profiles.a]\nkey = 1", "profiles = [1]"])
def test_a_broken_file_is_told(profiles: Profiles, content: str) -> None:
    profiles.path.parent.mkdir(parents=True)
    profiles.path.write_text(content)
    profiles.path.chmod(0o600)
    with pytest.raises(InvalidSettings, match=r"profiles\.toml"):
        profiles.all()


def test_the_order_of_places(profiles: Profiles, environment: dict[str, str], tmp_path: Path) -> None:
    def found(*arguments: str | None, **options: str) -> tuple[str, str | None]:
        place = find_place(*arguments, environment=environment, **options)  # type: ignore[arg-type]
        return place.server, place.api_key

    assert found() == (LOCAL_SERVER, None)
    _serve(tmp_path / "data")
    assert found() == ("http://127.0.0.1:9", "ember_local")
    profiles.save(Profile("one", "http://one", "ember_one"))
    profiles.save(Profile("two", "http://two", "ember_two"))
    assert found() == ("http://two", "ember_two")
    environment["EMBERBOX_PROFILE"] = "one"
    assert found() == ("http://one", "ember_one")
    environment["EMBERBOX_SERVER"] = "http://env/"
    assert found() == ("http://env", None)
    environment["EMBERBOX_API_KEY"] = "ember_env"
    assert found() == ("http://env", "ember_env")
    assert found(profile="two") == ("http://two", "ember_two")
    assert found("http://given") == ("http://given", "ember_env")
    assert found("http://given", "ember_given") == ("http://given", "ember_given")


def test_keys_are_sent_to_their_own_server_alone(
    profiles: Profiles, environment: dict[str, str], tmp_path: Path
) -> None:
    _serve(tmp_path / "data")
    profiles.save(Profile("one", "http://one", "ember_one"))
    assert find_place("http://evil", environment=environment).api_key is None
    assert find_place("http://one/", environment=environment).api_key == "ember_one"
    assert find_place("http://127.0.0.1:9", environment=environment).api_key == "ember_local"


def test_a_service_that_is_gone_is_not_found(tmp_path: Path, environment: dict[str, str]) -> None:
    _serve(tmp_path / "data", pid=2**22 - 1)
    assert local_service(environment=environment) is None
    for content in ("", "{}", "[]", '{"url": "ftp://x", "pid": 1}', '{"url": "http://x", "pid": "y"}'):
        (tmp_path / "data/service.json").write_text(content)
        assert local_service(environment=environment) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host:1",
        "ftp://x",
        "http://",
        "http://x:y",
        "http://x:0",
        "http://a b",
        "http://x?q",
        "http://x#f",
        "http://x\n",
        "http://ü",
    ],
)
def test_what_is_no_address(text: str) -> None:
    if text != "http://x\n":
        with pytest.raises(InvalidInput, match="https://host:port"):
            check_server(text)
    else:
        assert check_server(text) == "http://x"


def test_an_address_holds_no_password() -> None:
    with pytest.raises(InvalidInput, match="no password") as raised:
        check_server("https://me:hunter2@x")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("key", ["a b", "ü", "x\ny", " "])
def test_a_key_that_cannot_be_one_is_not_shown(key: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        check_key(key)
    assert repr(key)[1:-1] not in str(raised.value) or key == " "


@pytest.mark.parametrize(
    ("server", "local"),
    [
        ("http://127.0.0.1:1", True),
        ("http://[::1]:1", True),
        ("http://localhost", True),
        ("http://10.0.0.1", False),
        ("http://localhost.evil", False),
    ],
)
def test_what_is_on_this_machine(server: str, local: bool) -> None:
    assert find_place(server, "k").local is local

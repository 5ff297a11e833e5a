"""Installing from a release page: success, and each failure told with what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from emberbox.errors import EmberboxError, RequirementMissing
from emberbox.vmm.firecracker.install.installation import install
from emberbox.vmm.firecracker.install.release import installed
from emberbox.vmm.firecracker.install.sources import fetch_release
from tests.integration.install.archives import RELEASE, Archive, make_archive, program
from tests.integration.install.servers import Page, Proxy, self_made_tls
from tests.patience import PATIENCE_S
from tests.peers.binaries import make_binaries

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox.vmm.firecracker.install.release import Release


async def fetch(folder: Path, page: str, *, timeout_s: float = PATIENCE_S, release: Release = RELEASE) -> str:
    """Install, and return what was said about it."""
    try:
        return (
            await install(folder, release, partial(fetch_release, releases=page, timeout_s=timeout_s))
        ).version
    except EmberboxError as error:
        assert isinstance(error, RequirementMissing)
        return error.message


def nothing_is_left(folder: Path) -> bool:
    return {entry.name for entry in folder.iterdir()} <= {".lock"} and installed(folder) is None


async def test_both_programs_are_put_in_place(folder: Path, page: Page) -> None:
    seen: list[tuple[str, float | None]] = []
    found = await install(
        folder,
        RELEASE,
        partial(fetch_release, releases=page.url),
        lambda name, share: seen.append((name, share)),
    )
    assert found == installed(folder)
    assert (found.version, found.firecracker) == ("1.16.1", folder / "1.16.1/firecracker")
    for path in (found.firecracker, found.jailer):
        status = path.lstat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o755, os.geteuid())
    assert {entry.name for entry in folder.iterdir()} == {".lock", "1.16.1"}
    assert {entry.name for entry in (folder / "1.16.1").iterdir()} == {"firecracker", "jailer"}
    assert seen[0] == ("fetching the hash", None)
    assert ("fetching", 1.0) in seen


async def test_the_peers_are_a_release_too(folder: Path, tmp_path: Path) -> None:
    made = make_binaries(tmp_path / "peers", version="1.17.0")
    release = replace(RELEASE, version="1.17.0")
    archive = make_archive(
        release, programs={"firecracker": made.firecracker.read_bytes(), "jailer": made.jailer.read_bytes()}
    )
    page = Page(archive.pages())
    async with page:
        assert await fetch(folder, page.url, release=release) == "1.17.0"


async def test_repeating_fetches_nothing(folder: Path, page: Page) -> None:
    for _ in range(2):
        assert await fetch(folder, page.url) == "1.16.1"
    assert set(page.asked.values()) == {1}


async def test_two_at_once_fetch_once(folder: Path, page: Page) -> None:
    assert await asyncio.gather(*(fetch(folder, page.url) for _ in range(3))) == ["1.16.1"] * 3
    assert set(page.asked.values()) == {1}


async def test_what_is_damaged_is_replaced(folder: Path, page: Page) -> None:
    await fetch(folder, page.url)
    (folder / "1.16.1/jailer").write_bytes(program("jailer", "1.0.0"))
    assert await fetch(folder, page.url) == "1.16.1"
    (folder / "1.16.1/firecracker").unlink()
    assert installed(folder) is None
    assert await fetch(folder, page.url) == "1.16.1"
    assert {entry.name for entry in folder.iterdir()} == {".lock", "1.16.1"}


async def test_a_release_that_is_not_there(folder: Path, page: Page) -> None:
    said = await fetch(folder, page.url, release=replace(RELEASE, version="1.99.0"))
    assert "404" in said
    assert "--version" in said
    assert "EMBERBOX_FIRECRACKER_RELEASES" in said
    assert nothing_is_left(folder)


async def test_a_wrong_hash(folder: Path, page: Page, archive: Archive) -> None:
    page.files[f"{archive.path}.sha256.txt"] = f"{'0' * 64}  {RELEASE.archive}\n".encode()
    said = await fetch(folder, page.url)
    assert "0" * 64 in said
    assert archive.sha256 in said
    assert "was removed" in said
    assert nothing_is_left(folder)


async def test_a_hash_that_is_known_wins_over_the_page(
    folder: Path, page: Page, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emberbox.vmm.firecracker.install.sources.KNOWN_SHA256", {RELEASE.archive: "1" * 64})
    assert "1" * 64 in await fetch(folder, page.url)
    assert nothing_is_left(folder)


async def test_a_page_without_a_hash(folder: Path, page: Page, archive: Archive) -> None:
    page.files[f"{archive.path}.sha256.txt"] = b"<html>please log in</html>"
    assert "holds no SHA-256" in await fetch(folder, page.url)
    assert nothing_is_left(folder)


async def test_a_download_that_is_cut_off(folder: Path, page: Page, archive: Archive) -> None:
    page.cut[archive.path] = 100
    said = await fetch(folder, page.url)
    assert f"cut off after 100 of {len(archive.content)} bytes" in said
    assert nothing_is_left(folder)


async def test_a_download_that_stops(folder: Path, page: Page, archive: Archive) -> None:
    page.pause_after[archive.path] = 100
    assert "did not come within 1 s" in await fetch(folder, page.url, timeout_s=1)
    assert nothing_is_left(folder)


async def test_a_file_that_is_too_large_is_not_taken(folder: Path, page: Page, archive: Archive) -> None:
    page.announced[archive.path] = 10**12
    assert "more than" in await fetch(folder, page.url)
    assert nothing_is_left(folder)


async def test_a_server_that_fails(folder: Path, page: Page) -> None:
    page.status = 503
    assert "answered 503" in await fetch(folder, page.url)


async def test_no_server(folder: Path) -> None:
    async with Page({}) as gone:
        port = gone.port
    said = await fetch(folder, f"http://localhost:{port}")
    assert "HTTPS_PROXY" in said
    assert "--from FILE" in said


async def test_no_dns(folder: Path) -> None:
    said = await fetch(folder, "http://releases.invalid")
    assert "no DNS" in said
    assert "--from FILE" in said


async def test_no_address(folder: Path) -> None:
    assert "no address" in await fetch(folder, "nowhere")


async def test_redirects_are_followed_but_not_for_ever(folder: Path, page: Page, archive: Archive) -> None:
    page.files["/elsewhere"] = page.files.pop(archive.path)
    page.redirects[archive.path] = "/elsewhere"
    assert await fetch(folder, page.url) == "1.16.1"
    shutil.rmtree(folder / "1.16.1")
    page.redirects["/elsewhere"] = archive.path
    assert "without an end" in await fetch(folder, page.url)


async def test_not_an_archive(folder: Path, tmp_path: Path) -> None:
    page = Page(Archive(b"<html>a portal</html>").pages())
    async with page:
        assert "is not the archive of a release" in await fetch(folder, page.url)
    assert nothing_is_left(folder)


# -- proxies -------------------------------------------------------------------------------------


async def test_through_a_proxy(folder: Path, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy()
    async with proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert await fetch(folder, page.url) == "1.16.1"
    assert len(proxy.lines) == 2


async def test_not_through_a_proxy(folder: Path, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy()
    async with proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "localhost")
        assert await fetch(folder, page.url) == "1.16.1"
    assert proxy.lines == []


async def test_tls_through_a_proxy(
    folder: Path, tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, authority = await self_made_tls(tmp_path)
    page, proxy = Page(archive.pages(), tls), Proxy()
    async with page, proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert "certificate is not trusted" in await fetch(folder, page.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        assert await fetch(folder, page.url) == "1.16.1"
    assert all(line.startswith(f"CONNECT localhost:{page.port}") for line in proxy.lines)


async def test_a_page_with_tls_must_not_lead_to_one_without(
    folder: Path, tmp_path: Path, archive: Archive, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, authority = await self_made_tls(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    secure = Page({}, tls)
    async with secure:
        secure.redirects = {path: f"{page.url}{path}" for path in archive.pages()}
        assert "without TLS" in await fetch(folder, secure.url)


@pytest.mark.parametrize("refusal", ["403 Forbidden", "407 Proxy Authentication Required"])
async def test_a_proxy_that_refuses(folder: Path, refusal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(refusal)
    async with proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        said = await fetch(folder, "https://releases.invalid")
    assert "the proxy refused" in said
    assert refusal in said
    assert "HTTPS_PROXY" in said
    assert nothing_is_left(folder)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("HTTPS_PROXY", "carrier://pigeon", "the proxy"), ("SSL_CERT_FILE", "/none", "SSL_CERT_FILE")],
)
async def test_an_environment_that_cannot_be_used(
    folder: Path, name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert told in await fetch(folder, "https://localhost:1")


async def test_a_password_in_an_address_is_not_told(folder: Path, page: Page) -> None:
    said = await fetch(
        folder,
        page.url.replace("localhost", "me:secret@localhost"),
        release=replace(RELEASE, version="1.99.0"),
    )
    assert "404" in said
    assert "secret" not in said

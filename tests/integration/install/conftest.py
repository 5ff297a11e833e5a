"""Fixtures of installing: no proxy but the test's own, and a release page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.integration.install.archives import make_archive
from tests.integration.install.servers import Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.install.archives import Archive

_OUTSIDE = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "EMBERBOX_FIRECRACKER_RELEASES",
)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _OUTSIDE:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where releases are installed."""
    return tmp_path / "data/vmm/firecracker"


@pytest.fixture
def archive() -> Archive:
    return make_archive()


@pytest_asyncio.fixture
async def page(archive: Archive) -> AsyncIterator[Page]:
    """A release page that holds `archive`."""
    served = Page(archive.pages())
    async with served:
        yield served

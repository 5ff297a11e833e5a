"""Fixtures of the languages' tests: which languages, and an engine for all of them.

`EMBERBOX_TEST_LANGUAGES` names the languages, with blanks between, or is `all`; without it only
those are tested whose images the other tests build, and briefly. A test marked `language("ruby")`
runs only where that language is tested.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from emberbox import Engine, Settings
from emberbox.config import VmmSettings
from emberbox.runtimes import builtin_folder, discover
from tests.e2e.conftest import child_processes
from tests.patience import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__).parent
USUAL = ("bash", "python")
VARIABLE = "EMBERBOX_TEST_LANGUAGES"
BUILD_S = 1800


def thorough() -> bool:
    """Tell whether languages were asked for by name."""
    return bool(os.environ.get(VARIABLE, "").strip())


def languages() -> tuple[str, ...]:
    """Return the names of the languages that are tested.

    Raises `UnknownRuntime` for one that does not exist.
    """
    wanted = os.environ.get(VARIABLE, "").split() or list(USUAL)
    catalog = discover([builtin_folder()])
    return (
        catalog.names if "all" in wanted else tuple(dict.fromkeys(catalog.get(name).name for name in wanted))
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "language" in metafunc.fixturenames and HERE in Path(metafunc.module.__file__ or "").parents:
        metafunc.parametrize("language", languages(), scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    ours = [item for item in items if HERE in item.path.parents]
    tested = set(languages()) if ours else set()
    dropped = []
    for item in ours:
        item.add_marker(pytest.mark.e2e)
        item.add_marker(pytest.mark.timeout(BUILD_S if thorough() else 900), append=False)
        named = {name for mark in item.iter_markers("language") for name in mark.args}
        if not named <= tested:
            dropped.append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in dropped]


@pytest.fixture(scope="session")
def language_settings(data_folder: Path) -> Settings:
    """Settings without a pool."""
    return Settings(data=data_folder, vmm=VmmSettings(boot_timeout_s=600, clone_timeout_s=300))


@pytest_asyncio.fixture(scope="session")
async def language_engine(language_settings: Settings) -> AsyncIterator[Engine]:
    """One engine for all languages; images and templates are built when they are first used."""
    async with Engine(language_settings) as engine:
        yield engine


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_behind(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Every test must leave as many child processes of this one as it found.

    Others may use the data folder at the same time.
    """
    if "language_engine" in request.fixturenames:
        request.getfixturevalue("language_engine")
    before = child_processes()
    yield
    try:
        await until(lambda: not child_processes() - before)
    except TimeoutError:
        pytest.fail(f"left behind: {child_processes() - before}")

"""What the pages tell people to type works."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.client.conftest import ROOT, run_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = ("quickstart", "sdk", "archives", "ci")


def _blocks(language: str) -> Iterator[object]:
    for page in PAGES:
        text = (ROOT / f"docs/{page}.md").read_text()
        code = re.findall(rf"^```{language}\n(.*?)^```$", text, re.S | re.M)
        if language == "sh":
            # A page is read from its beginning to its end, in one shell.
            code = ["\n".join(code)] if code else []
        yield from (pytest.param(block, id=f"{page}-{number}") for number, block in enumerate(code))


@pytest.mark.parametrize("block", list(_blocks("python")))
async def test_python(block: str, environment: dict[str, str], tmp_path: Path) -> None:
    done = await run_program(sys.executable, "-c", block, cwd=tmp_path, env=environment)
    assert (done.code, done.err) == (0, "")
    assert done.out


@pytest.mark.parametrize("block", list(_blocks("sh")))
async def test_shell(block: str, environment: dict[str, str], tmp_path: Path) -> None:
    shell = shutil.which("bash") or "sh"
    done = await run_program(shell, "-euo", "pipefail", "-c", block, cwd=tmp_path, env=environment)
    assert done.code == 0, done.err
    assert "emberbox:" not in done.err.replace("emberbox: keep the secret now", "")


@pytest.mark.parametrize("page", [*PAGES, "api"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)", (ROOT / f"docs/{page}.md").read_text()):
        assert (ROOT / "docs" / target).exists(), target

"""What a manifest may say wrong about packages, told by the build."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from emberbox.errors import ImageBuildFailed
from emberbox.runtimes import MANIFEST_NAME, load
from tests.languages.conftest import thorough

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox import Engine

MISSING = "emberbox-no-such-package"
MANIFEST = f"""
name = "ghostly"
version = "1"
extensions = [".gh"]
[image]
packages = ["{MISSING}"]
[run]
argv = ["bash", "{{script}}"]
"""


@pytest.mark.skipif(not thorough(), reason="asks the distribution's packages; make test-languages runs it")
async def test_a_package_that_does_not_exist_is_named(tmp_path: Path, language_engine: Engine) -> None:
    folder = tmp_path / "ghostly"
    folder.mkdir()
    (folder / MANIFEST_NAME).write_text(MANIFEST)
    with pytest.raises(ImageBuildFailed, match=f"no package {MISSING}"):
        await language_engine.image(load(folder / MANIFEST_NAME))
    assert not list((language_engine.images.root / "building").glob("*"))

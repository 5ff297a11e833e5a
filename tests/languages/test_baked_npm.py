"""Packages of Node that a manifest names, from a registry that the test serves."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from emberbox import Engine
from emberbox.config import PackageSettings
from emberbox.errors import PackagesFailed
from emberbox.runtimes import MANIFEST_NAME, builtin_folder
from tests.e2e.package_index import PackageIndex, served
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path

    from emberbox import Settings

pytestmark = pytest.mark.language("node-common")
NAME = "emberdemo"
USE = (
    f"import('{NAME}').then((found) => "
    f"console.log(require('{NAME}').value, found.default.value, require('lodash').sum([1, 2])))"
)


class NpmRegistry(PackageIndex):
    """Serves one package, as npm asks for it."""

    def __init__(self) -> None:
        super().__init__((f"{NAME}-1.0.0.tgz", tarball({"index.js": "module.exports = { value: 42 };\n"})))

    def answer(self, path: str) -> bytes | None:
        """Return what lies at a path: what is known of the package, or the package."""
        if path != f"/simple/{NAME}":
            return super().answer(path) if path.startswith("/files/") else None
        ((file, data),) = self.packages.items()
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
        address = self.address.removesuffix("/simple") + f"/files/{file}"
        version = {"name": NAME, "version": "1.0.0", "dist": {"tarball": address, "integrity": integrity}}
        return json.dumps(
            {"name": NAME, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        ).encode()


def tarball(files: dict[str, str]) -> bytes:
    """Return a package as npm packs it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, text in {"package.json": json.dumps({"name": NAME, "version": "1.0.0"}), **files}.items():
            info = tarfile.TarInfo(f"package/{path}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return stream.getvalue()


def bakery(folder: Path, name: str, package: str) -> None:
    """Write a runtime that is node-common with one package baked in."""
    shutil.copytree(builtin_folder() / "node-common", folder / name)
    shutil.copytree(builtin_folder() / "javascript" / "files", folder / name / "files")
    manifest = folder / name / MANIFEST_NAME
    kept = [
        line
        for line in manifest.read_text().splitlines()
        if not line.startswith(("aliases", "extensions", "name = "))
    ]
    text = (
        "\n".join(kept)
        .replace("[image]", f'[image]\nnpm = ["{package}"]')
        .replace("../javascript/files", "files")
    )
    manifest.write_text(f'name = "{name}"\n{text}\n')


async def test_packages_that_manifests_name_are_there_or_named(
    tmp_path: Path, language_settings: Settings
) -> None:
    bakery(tmp_path / "runtimes", "baked-node", f"{NAME}@1.0.0")
    bakery(tmp_path / "runtimes", "ghostly-node", "no-such-package@1.0.0")
    with served(NpmRegistry()) as registry:
        packages = PackageSettings(npm_registry=registry.address, memory_mib=1024, disk_mib=512)
        settings = replace(language_settings, packages=packages, runtimes=(tmp_path / "runtimes",))
        async with Engine(settings) as engine:
            result = await engine.run(USE, runtime="baked-node", cold=True, timeout_s=PATIENCE_S)
            assert (result.stdout, result.stderr) == ("42 42 3\n", "")
            with pytest.raises(PackagesFailed, match=r"names in image\.npm: .*no-such-package"):
                await engine.template("ghostly-node")
            assert engine.machines == 0

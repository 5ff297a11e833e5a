"""Debian's kernel for physical machines as one's own: ext4, overlay and all of virtio are modules.

Downloads it by the host's apt, so it runs only when it is asked for: `make test-kernels`.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from emberbox.images.debian.apt import host_architecture
from emberbox.images.kernels.facts import parse_config, read_facts
from emberbox.images.kernels.module import load_module
from emberbox.images.kernels.modules import built_in_modules, module_files
from emberbox.images.kernels.needs import ALWAYS, BLOCK, CONSOLE, EXT4, MMIO, OVERLAY, VSOCK, Has, has
from emberbox.images.kernels.own import look_into
from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(os.environ.get("EMBERBOX_TEST_KERNELS") != "1", reason="only by `make test-kernels`"),
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
]
CACHE = ROOT / ".cache/test-kernels"
PACKAGES = {"amd64": "linux-image-amd64", "arm64": "linux-image-arm64"}
COMMAND_S = 900
MODULAR = (MMIO, BLOCK, EXT4, OVERLAY, CONSOLE, VSOCK)


@dataclass(frozen=True)
class Debian:
    version: str
    file: Path
    modules: Path


def run(*words: str, cwd: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )


@pytest.fixture(scope="module")
def debian() -> Debian:
    """The kernel that Debian's package for physical machines stands for, unpacked and not installed."""
    told = run("apt-cache", "show", "--no-all-versions", PACKAGES[host_architecture()]).stdout
    found = re.search(r"Depends:.*?\b(linux-image-(\d[\w.+-]*))", told)
    assert found is not None, "apt knows no kernel; are its lists fresh?"
    folder = CACHE / found[1]
    if not folder.is_dir():
        aside = CACHE / f"{found[1]}.{os.getpid()}"
        aside.mkdir(parents=True)
        fetched = run("apt-get", "-o", "APT::Sandbox::User=root", "-qq", "download", found[1], cwd=aside)
        assert fetched.returncode == 0, fetched.stderr
        (archive,) = aside.glob("*.deb")
        assert run("dpkg-deb", "-x", str(archive), str(aside / "tree")).returncode == 0
        archive.unlink()
        aside.rename(folder)
    return Debian(found[2], folder / f"tree/boot/vmlinuz-{found[2]}", folder / "tree")


@pytest.fixture(scope="module")
def data(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of its own, with the root file systems that other tests have built already."""
    folder = tmp_path_factory.mktemp("kernels")
    if (data_folder / "images/objects").is_dir():
        shutil.copytree(
            data_folder / "images", folder / "images", ignore=shutil.ignore_patterns("building", "locks")
        )
    return folder


def emberbox(data: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    # EMBERBOX_VMM_ACCELERATOR: this kernel is an ordinary one, and runs anywhere under emulation.
    return run(
        sys.executable,
        "-m",
        "emberbox.cli.main",
        *words,
        env={"EMBERBOX_DATA": str(data), "EMBERBOX_VMM_ACCELERATOR": "tcg", **env},
    )


RELEASE = "import os; print(os.uname().release)"


def test_without_its_modules_it_is_refused(debian: Debian, data: Path) -> None:
    refused = emberbox(data, "setup", "--runtime", "python", "--kernel", str(debian.file))
    assert refused.returncode != 0
    assert (
        "the file system ext4 (CONFIG_EXT4_FS, which is a module: --modules must bring it)" in refused.stderr
    )


def test_programs_run_on_it(debian: Debian, data: Path) -> None:
    built = emberbox(
        data, "setup", "--runtime", "python", "--kernel", str(debian.file), "--modules", str(debian.modules)
    )
    assert built.returncode == 0, built.stderr
    assert f"Linux {debian.version} (vmlinuz-{debian.version}): with its configuration" in built.stderr
    for words in ([], ["--cold"]):
        ran = emberbox(data, "run", "--timeout", "0", *words, "-r", "python", "-c", RELEASE)
        assert (ran.returncode, ran.stdout.strip()) == (0, debian.version), ran.stderr
    back = emberbox(data, "setup", "--runtime", "python", "--kernel", "debian")
    assert back.returncode == 0, back.stderr
    again = emberbox(data, "run", "--timeout", "0", "-r", "python", "-c", RELEASE)
    assert again.returncode == 0, again.stderr
    assert again.stdout.strip() != debian.version


def test_a_setting_names_it_too(debian: Debian, data: Path) -> None:
    named = {"EMBERBOX_IMAGES_KERNEL": str(debian.file), "EMBERBOX_IMAGES_MODULES": str(debian.modules)}
    ran = emberbox(data, "run", "--timeout", "0", "-r", "python", "-c", RELEASE, **named)
    assert (ran.returncode, ran.stdout.strip()) == (0, debian.version), ran.stderr


async def test_marks_and_modules_tell_the_same_as_the_configuration(debian: Debian, tmp_path: Path) -> None:
    """What kernels without a configuration are judged by is held to one that has it."""
    found = await look_into(debian.file, debian.modules, host_architecture(), tmp_path)
    plain = await asyncio.to_thread(read_facts, found.vmlinux)
    assert plain.config is None
    config = parse_config((debian.file.parent / f"config-{debian.version}").read_text())
    folder = debian.modules / "lib/modules" / debian.version
    files, built_in = module_files(folder), built_in_modules(folder)
    for need in (*ALWAYS, *MODULAR):
        by_config = config[f"CONFIG_{need.option}"]
        assert has(need, plain, files, built_in) is (Has.MODULE if by_config == "m" else Has.BUILT_IN), need
        assert has(need, plain, (), ()) is (Has.MISSING if by_config == "m" else Has.BUILT_IN), need
        if by_config == "m":
            # Built in, the same code would be in the kernel, and its mark with it.
            assert need.mark.strip(b"\0") in load_module(str(need.module), files[str(need.module)]).data, need

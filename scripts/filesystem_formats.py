"""Measures a runtime's root file system in several formats: size, cold boot, template, clones, a cold read, the VMM's memory.

Usage: python scripts/filesystem_formats.py [--runtime python] [--rounds 15] [--data FOLDER]

Needs root (owners are kept), erofs-utils and squashfs-tools. Processor time is the VMM's: with TCG that is what the guest costs.
Formats take turns, so that a change of the machine's mood meets all of them. Nothing is left in the data folder.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emberbox import Engine, Settings, load_settings
from emberbox.bench.samplers.base import settle
from emberbox.bench.smaps import rollup
from emberbox.images import ImageStore, SilentProgress, modules
from emberbox.images.ext4 import Owner, make_ext4
from emberbox.images.initramfs import agent_path, build_initramfs, read_agent
from emberbox.images.kernel import fetch_kernel
from emberbox.images.requirements import find_program

if TYPE_CHECKING:
    from emberbox.images import Image
    from emberbox.images.recipe import BuildableRuntime
    from emberbox.sandbox.sandbox import Sandbox

LARGE = "opt/large"
LARGE_BYTES = 50 * 1024 * 1024
HELLO = "print('hello, world')"
READ = f"""
import time
begun = time.perf_counter()
with open("/{LARGE}", "rb", buffering=0) as stream:
    while stream.read(1 << 20):
        pass
print((time.perf_counter() - begun) * 1000)
"""
FORMATS: dict[str, tuple[str, ...]] = {
    "ext4": (),
    "erofs, plain": ("mkfs.erofs", "-T0", "{image}", "{tree}"),
    "erofs, lz4hc": ("mkfs.erofs", "-T0", "-zlz4hc", "{image}", "{tree}"),
    "erofs, lz4hc in 64 KiB": ("mkfs.erofs", "-T0", "-zlz4hc", "-C65536", "{image}", "{tree}"),
    "squashfs, lz4hc": ("mksquashfs", "{tree}", "{image}", "-comp", "lz4", "-Xhc", "-noappend", "-quiet", "-no-progress"),
    "squashfs, zstd": ("mksquashfs", "{tree}", "{image}", "-comp", "zstd", "-noappend", "-quiet", "-no-progress"),
}


class Variants(ImageStore):
    """Finds one image, whatever the runtime."""

    image: Image

    def find(self, runtime: BuildableRuntime) -> Image | None:
        """Return it."""
        return self.image


class Variant:
    """One format, with an engine of its own and what was measured of it."""

    def __init__(self, name: str, engine: Engine, size_mib: float) -> None:
        self.name = name
        self.engine = engine
        self.size_mib = size_mib
        self.samples: defaultdict[str, list[float]] = defaultdict(list)

    async def run(self, runtime: str, what: str, code: str, *, cold: bool = False) -> None:
        """Run a program in a new VM and note wall and processor time from its start to the result."""
        begun = time.perf_counter()
        async with self.engine.sandbox(runtime, cold=cold) as sandbox:
            if code is READ:
                before_ms = processor_ms(sandbox)
            result = await sandbox.run(code)
            wall_ms = (time.perf_counter() - begun) * 1000
            if not result.ok:
                raise SystemExit(f"{self.name}: {result.stderr or result.message}")
            spent_ms = processor_ms(sandbox)
            if code is READ:
                wall_ms, spent_ms = float(result.stdout), spent_ms - before_ms
            self.samples[f"{what}, ms"].append(wall_ms)
            self.samples[f"{what}, CPU ms"].append(spent_ms)
            self.samples[f"{what}, VMM MiB"].append(rollup(sandbox.pid)["Pss"] / 1024)
        await settle(self.engine)


def processor_ms(sandbox: Sandbox) -> float:
    """Return the processor time of a sandbox's VMM so far."""
    fields = Path(f"/proc/{sandbox.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def unpack(image: Image, tree: Path) -> None:
    """Unpack a root file system, and put a file into it that is as compressible as its libraries."""
    tree.mkdir()
    subprocess.run([find_program("debugfs"), "-R", f"rdump / {tree}", str(image.rootfs)], check=True, capture_output=True)
    large = tree / LARGE
    large.parent.mkdir(exist_ok=True)
    with large.open("wb") as stream:
        for path in sorted(tree.joinpath("usr/lib").rglob("*")):
            if path.is_file() and not path.is_symlink():
                stream.write(path.read_bytes())
                if stream.tell() >= LARGE_BYTES:
                    break
        stream.truncate(LARGE_BYTES)


async def write(name: str, tree: Path, image: Path) -> None:
    """Write one format's file system."""
    if not FORMATS[name]:
        await make_ext4(tree, image, {"work": Owner(1000, 1000)})
        return
    argv = [word.format(tree=tree, image=image) for word in FORMATS[name]]
    await asyncio.to_thread(subprocess.run, argv, check=True, capture_output=True)
    image.chmod(0o644)


async def build_variants(data: Path, scratch: Path, base: Image) -> list[Variant]:
    """Write all formats, boot and freeze each once."""
    # Both decompressors come with the kernel; the modules are read anew because images carry only what they need.
    wanted: Any = (*modules.WANTED, "erofs", "squashfs")
    modules.WANTED = wanted
    kernel_folder = scratch / "kernel"
    kernel_folder.mkdir()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    kernel = await fetch_kernel(architecture, kernel_folder, SilentProgress())
    initramfs = scratch / "initramfs.cpio"
    initramfs.write_bytes(build_initramfs(read_agent(agent_path(architecture)), kernel.modules))
    await asyncio.to_thread(unpack, base, scratch / "tree")
    variants = []
    for number, name in enumerate(FORMATS):
        file = scratch / f"rootfs-{number}"
        await write(name, scratch / "tree", file)
        store = Variants(data / "images")
        key = hashlib.sha256(f"{base.key} {name}".encode()).hexdigest()
        store.image = replace(base, key=key, rootfs=file, initramfs=initramfs, kernel=kernel.vmlinux)
        engine = Engine(Settings(data=data))
        await engine.__aenter__()
        engine.images = store
        variants.append(Variant(name, engine, file.stat().st_size / 1024**2))
    return variants


async def measure(runtime: str, rounds: int, data: Path) -> list[Variant]:
    """Measure all formats and return them."""
    found = ImageStore(data / "images")
    with tempfile.TemporaryDirectory(prefix="formats-", dir=data) as folder:
        scratch = Path(folder)
        scratch.chmod(0o755)
        own = scratch / "data"
        own.mkdir()
        (own / "vmm").mkdir()
        (own / "images").symlink_to(data / "images")
        engine = Engine(Settings(data=own))
        base = found.find(engine.runtimes.get(runtime))
        if base is None:
            raise SystemExit(f"build it first: emberbox images build {runtime}")
        variants = await build_variants(own, scratch, base)
        try:
            for variant in variants:
                begun = time.perf_counter()
                await variant.engine.template(runtime)
                variant.samples["template, s"].append(time.perf_counter() - begun)
                await variant.engine.run(HELLO, runtime=runtime)
            for number in range(rounds):
                for variant in variants:
                    await variant.run(runtime, "clone", HELLO)
                    if number < max(3, rounds // 3):
                        await variant.run(runtime, "cold boot", HELLO, cold=True)
                        await variant.run(runtime, "read", READ, cold=True)
        finally:
            for variant in variants:
                await variant.engine.close()
    return variants


def table(variants: list[Variant]) -> str:
    """Return medians with the smallest and the largest, one line for each thing that was measured."""
    lines = ["| | " + " | ".join(variant.name for variant in variants) + " |", "|---|" + "---:|" * len(variants)]
    lines.append("| size, MiB | " + " | ".join(f"{variant.size_mib:.0f}" for variant in variants) + " |")
    for what in variants[0].samples:
        cells = []
        for variant in variants:
            values = variant.samples[what]
            spread = f" ({min(values):.0f}–{max(values):.0f})" if len(values) > 1 else ""
            cells.append(f"{statistics.median(values):.0f}{spread}")
        lines.append(f"| {what} (n={len(variants[0].samples[what])}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="measures a root file system in several formats")
    parser.add_argument("--runtime", default="python")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--data", type=Path)
    given = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("run it as root: the owners of files are kept")
    data = given.data or load_settings().data
    sys.stderr.write(f"load {os.getloadavg()[0]:.2f}\n")
    variants = asyncio.run(measure(given.runtime, given.rounds, data.resolve()))
    sys.stderr.write(f"load {os.getloadavg()[0]:.2f}\n")
    sys.stdout.write(f"{table(variants)}\n")


if __name__ == "__main__":
    main()

"""Writes constraints/: each package that an installation takes from the index, with version and hashes.

python -m scripts.constraints               what pyproject.toml still allows stays as it is
python -m scripts.constraints --upgrade     the newest of all
python -m scripts.constraints --upgrade-package NAME

It needs uv (`pip install uv`), which nothing else here does. The hashes are those of the files, so
that any mirror of the index serves as well as the index. No file says where it was downloaded from.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "constraints"
FILES = ("build", "wheel", "dev")
HEADS = {
    "build": "# What builds the wheel.\n",
    "wheel": "# What the wheel depends on.\n",
    "dev": "# What tests and checks need besides.\n-r build.txt\n-r wheel.txt\n",
}
WRITTEN = "# Written by: python -m scripts.constraints\n"


def main(options: list[str]) -> None:
    """Resolve all packages together, and write each into the files of what needs it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = [f"--extra={name}" for name in project["project"]["optional-dependencies"]]
    with tempfile.TemporaryDirectory() as folder:
        # As uv's output file it names the versions that are kept.
        locked = Path(folder) / "locked.txt"
        locked.write_text("".join(blocks_of(name) for name in FILES), encoding="utf-8")
        every = Path(folder) / "every.in"
        every.write_text("\n".join(project["build-system"]["requires"]), encoding="utf-8")
        compiled(
            ["pyproject.toml", str(every), *extras, "--generate-hashes", f"--output-file={locked}", *options]
        )
        blocks = split(locked.read_text(encoding="utf-8"))
        bound = f"--constraints={locked}"
        build = names(split(compiled([str(every), bound])))
        wheel = names(split(compiled(["pyproject.toml", bound])))
    groups = {"build": build, "wheel": wheel, "dev": names(blocks) - build - wheel}
    TARGET.mkdir(exist_ok=True)
    for name in FILES:
        text = "".join(block for block in blocks if name_of(block) in groups[name])
        (TARGET / f"{name}.txt").write_text(f"{WRITTEN}{HEADS[name]}{text}", encoding="utf-8")


def compiled(arguments: list[str]) -> str:
    """Return what `uv pip compile` makes of the arguments, for all systems and all Pythons from 3.11 on."""
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        sys.exit("uv is missing: pip install uv")
    usual = ["--universal", "--python-version=3.11", "--no-emit-index-url", "--no-header", "--no-annotate"]
    command = [uv, "--quiet", "pip", "compile", *usual, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def blocks_of(name: str) -> str:
    """Return the packages of one file; nothing where there is no such file yet."""
    file = TARGET / f"{name}.txt"
    return "".join(split(file.read_text(encoding="utf-8"))) if file.exists() else ""


def split(text: str) -> list[str]:
    """Return each package's lines: the version, and the hashes where there are any."""
    blocks: list[str] = []
    for line in text.splitlines(keepends=True):
        if line.startswith((" ", "\t")):
            blocks[-1] += line
        elif not line.startswith(("#", "-")):
            blocks.append(line)
    return blocks


def names(blocks: list[str]) -> set[str]:
    """Return the names of packages."""
    return {name_of(block) for block in blocks}


def name_of(block: str) -> str:
    """Return a package's name."""
    return block.partition("==")[0].partition("[")[0].strip()


if __name__ == "__main__":
    main(sys.argv[1:])

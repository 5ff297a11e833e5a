"""pip: packages of Python, by a requirements.txt."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from emberbox.runtimes.package_tools.base import PackageTool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.runtimes.package_tools.base import Installation

_OPTIONS = [
    "--isolated",
    "--no-input",
    "--disable-pip-version-check",
    "--progress-bar",
    "off",
    "--no-color",
    "--no-cache-dir",
    "--no-warn-script-location",
    "--no-user",
    "--retries",
    "1",
    "--timeout",
    "60",
]


class Pip(PackageTool):
    """Installs into `usr/local`, where Python looks by itself."""

    name = "pip"
    files = ("requirements.txt",)
    entry = (
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}(\[[A-Za-z0-9._,-]{1,127}\])?"
        r"((==|>=|<=|~=|!=|<|>)[A-Za-z0-9.*+!,<>=~-]{1,127})?"
    )
    entry_allowed = "a requirement without spaces, such as numpy==1.26.4"
    place = "usr/local"
    setting = "pip_index"
    own_index = (
        "python3",
        "-c",
        "from pip._internal.models.index import PyPI; print(PyPI.simple_url, PyPI.file_storage_domain)",
    )

    def reads(self, name: str) -> bool:
        """Tell whether a file is the list of packages: whatever ends in `.txt`."""
        return PurePath(name).suffix == ".txt"

    def empty(self, text: bytes) -> bool:
        """Tell whether there are but comments."""
        return all(not line.strip() or line.lstrip().startswith(b"#") for line in text.splitlines())

    def listing(self, names: Sequence[str]) -> bytes:
        """Return the requirements.txt of these: `numpy==1.26.4`."""
        return "".join(f"{name}\n" for name in names).encode()

    def command(self, installation: Installation) -> tuple[str, ...]:
        """Return the call of pip, which trusts an index of plain HTTP and no other one."""
        index = urlsplit(installation.index)
        return (
            *("python3", "-m", "pip", "install", *_OPTIONS),
            *("--root", installation.target),
            *("--index-url", installation.index),
            *("--proxy", installation.proxy),
            *(("--trusted-host", index.netloc) if index.scheme == "http" else ()),
            *(("--cert", installation.authorities) if installation.authorities else ()),
            *("--requirement", self.files[0]),
        )


TOOL = Pip()

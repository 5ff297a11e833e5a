"""What packages a script asks for, and how the tools that install them are called in a build VM."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emberbox.config import PackageSettings
    from emberbox.runtimes import Runtime

FILES: Mapping[str, tuple[str, ...]] = {"pip": ("requirements.txt",), "npm": ("package.json", "package-lock.json")}
"""What each tool reads; the first says that there are packages."""
PLACES: Mapping[str, str] = {"pip": "usr/local", "npm": "node_modules"}
"""Where each tool's packages lie in the guest, relative to its root."""
REQUEST_BYTES = 4 * 1024 * 1024
TARGET = "/work/layer"
_LIST_BYTES = 65_536
_PROXY = "http://127.0.0.1:3128"
_FORMAT = 1
"""Goes into every key: raise it when packages are installed in another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRequest:
    """What shall be installed.

    Args:
        tool: `pip` or `npm`.
        files: What the tool reads, by name; see `FILES`.
    """

    tool: str
    files: Mapping[str, bytes]

    def __post_init__(self) -> None:
        names = FILES.get(self.tool)
        if names is None:
            raise InvalidInput(f"packages are installed by {' or '.join(FILES)}, not by {self.tool!r}")
        if names[0] not in self.files or not set(self.files) <= set(names):
            raise InvalidInput(f"{self.tool} takes {' and '.join(names)}, not {', '.join(sorted(self.files)) or 'nothing'}")
        if sum(map(len, self.files.values())) > REQUEST_BYTES:
            raise InvalidInput(f"{names[0]} is larger than {REQUEST_BYTES // 1024**2} MiB")

    @property
    def empty(self) -> bool:
        """Whether it asks for nothing, as a package.json that only describes the script does."""
        text = self.files[FILES[self.tool][0]]
        if self.tool == "pip":
            return all(not line.strip() or line.lstrip().startswith(b"#") for line in text.splitlines())
        try:
            about = json.loads(text)
            return isinstance(about, dict) and not any(about.get(name) for name in ("dependencies", "optionalDependencies"))
        except ValueError:
            return False

    def key(self, *parts: str) -> str:
        """Return the SHA-256, as hex, over the request and whatever else the result depends on."""
        files = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
        return hashlib.sha256(json.dumps([_FORMAT, self.tool, files, *parts], sort_keys=True).encode()).hexdigest()

    @classmethod
    def of_names(cls, tool: str, names: Sequence[str]) -> PackageRequest:
        """Return the request for packages as the tool writes them: `numpy==1.26.4`, `lodash@4.17.21`."""
        if tool == "npm":
            wanted = dict(_npm_name(name) for name in names)
            return cls(tool=tool, files={"package.json": json.dumps({"private": True, "dependencies": wanted}).encode()})
        return cls(tool=tool, files={"requirements.txt": "".join(f"{name}\n" for name in names).encode()})

    @classmethod
    def of_path(cls, path: Path) -> PackageRequest:
        """Return the request of a file on the host, with the lock file beside a package.json. Blocks.

        Raises:
            InvalidInput: The file's name says nothing to either tool, or it cannot be read.
        """
        for tool, names in FILES.items():
            if path.name == names[0] or (tool == "pip" and path.suffix == ".txt"):
                return cls(tool=tool, files=_read_files(path, names))
        known = " or ".join(names[0] for names in FILES.values())
        raise InvalidInput(f"cannot tell what installs {path.name!r}: name the file {known}")


def _npm_name(name: str) -> tuple[str, str]:
    package, found, version = name[1:].partition("@")
    return name[0] + package, version if found else "*"


def _read_files(path: Path, names: Sequence[str]) -> dict[str, bytes]:
    found = {}
    for source, name in ((path, names[0]), *((path.with_name(name), name) for name in names[1:])):
        try:
            with source.open("rb") as stream:
                found[name] = stream.read(REQUEST_BYTES + 1)
        except FileNotFoundError:
            if source == path:
                raise InvalidInput(f"there is no file {path}") from None
        except OSError as error:
            raise InvalidInput(f"{source} cannot be read: {error.strerror}") from error
    return found


def request_of(packages: PackageRequest | Path | str | Mapping[str, Sequence[str]], runtime: Runtime) -> PackageRequest:
    """Return what a caller asks for; blocks where it is a file.

    Args:
        packages: A request, a file on the host, the text of a requirements.txt or package.json, or `{"pip": [...]}`.
        runtime: Which must install such packages.

    Raises:
        InvalidInput: It is none of these, or the runtime installs no such packages.
    """
    tool = None if runtime.packages is None else runtime.packages.tool
    if tool is None:
        raise InvalidInput(f"the runtime {runtime.name} takes no packages; its manifest has no table [packages]")
    if isinstance(packages, Path):
        request = PackageRequest.of_path(packages)
    elif isinstance(packages, str):
        request = PackageRequest(tool=tool, files={FILES[tool][0]: packages.encode()})
    elif isinstance(packages, PackageRequest):
        request = packages
    else:
        if len(packages) != 1:
            raise InvalidInput('packages must be {"pip": […]} or {"npm": […]}')
        request = PackageRequest.of_names(*next(iter(packages.items())))
    if request.tool != tool:
        raise InvalidInput(f"the runtime {runtime.name} installs packages by {tool}, not by {request.tool}")
    return request


SETTING = {"pip": "pip_index", "npm": "npm_registry"}
"""The setting with each tool's index."""
OWN_INDEX = {
    "pip": ("python3", "-c", "from pip._internal.models.index import PyPI; print(PyPI.simple_url, PyPI.file_storage_domain)"),
    "npm": ("npm", "config", "get", "registry"),
}
"""What prints the index that a tool is made for, and the hosts that keep its files."""


def index_of(settings: PackageSettings, tool: str) -> str:
    """Return the address of a tool's index."""
    return str(getattr(settings, SETTING[tool]))


def install_command(request: PackageRequest, index: str, authorities: str | None = None) -> tuple[str, ...]:
    """Return the command that installs a request in a build VM, started in the work folder with its files there.

    Args:
        request: What is wanted.
        index: Address of the index.
        authorities: File in the VM with the certificates of those who are trusted; None for the image's own.
    """
    if request.tool == "npm":
        verb = "ci" if "package-lock.json" in request.files else "install"
        options = ("--omit=dev", "--no-audit", "--no-fund", "--no-update-notifier", "--no-progress", "--loglevel=error")
        return ("npm", verb, *options, f"--registry={index}", f"--prefix={TARGET}", "--cache=/tmp/npm", f"--proxy={_PROXY}",
                f"--https-proxy={_PROXY}", "--noproxy=", "--fetch-retries=1",
                *((f"--cafile={authorities}",) if authorities else ()))  # fmt: skip
    from urllib.parse import urlsplit

    parts = urlsplit(index)
    trusted = ("--trusted-host", parts.netloc) if parts.scheme == "http" else ()
    return (
        *("python3", "-m", "pip", "install", "--isolated", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"),
        *("--no-color", "--no-cache-dir", "--no-warn-script-location", "--no-user", "--root", TARGET, "--index-url", index),
        *("--proxy", _PROXY, "--retries", "1", "--timeout", "60", *trusted, *(("--cert", authorities) if authorities else ())),
        *("--requirement", "requirements.txt"),
    )


def _errors(lines: list[str]) -> list[str]:
    """Return the lines that tell of errors, with those that pip indents below one of its own."""
    found, below = [], False
    for line in lines:
        begins = line.startswith(("ERROR:", "npm ERR!", "error:"))
        below = line.startswith("ERROR:") or (below and line.startswith("  "))
        if begins or below:
            found.append(line.strip())
    return found


def failure_message(tool: str, output: str) -> str:
    """Return what a person reads of a failed installation: the tool's own errors, and a hint where a compiler was missing."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    told = _errors(lines) or lines
    # npm begins with what is wrong and ends with advice, pip the other way round.
    kept = (
        [line for line in told if line.rstrip("! ").rpartition(" ")[2] not in ("404", "ERR")][:4] if tool == "npm" else told[-4:]
    )
    text = "; ".join(kept)[-600:]
    if any(
        mark in output
        for mark in ("gcc' failed", "cc' failed", "No such file or directory: 'gcc'", "No such file or directory: 'cc'")
    ):
        text += "; there is no compiler in the image: choose a version that has a wheel"
    return f"{tool} could not install the packages: {text or 'it said nothing'}"

"""What packages a script asks for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from emberbox.errors import InvalidInput
from emberbox.runtimes.package_tools.registry import TOOLS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from emberbox.runtimes import Runtime
    from emberbox.runtimes.package_tools.base import PackageTool

Packages: TypeAlias = "PackageRequest | Path | str | Mapping[str, Sequence[str]]"
"""A request, a file on the host, the text of such a file, or names by their tool."""
REQUEST_BYTES = 4 * 1024 * 1024
_FORMAT = 1
"""Goes into every key: raise it when packages are installed in another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRequest:
    """What shall be installed.

    Args:
        tool: The name of the tool that installs it.
        files: What the tool reads, by name; see `PackageTool.files`.
    """

    tool: str
    files: Mapping[str, bytes]

    def __post_init__(self) -> None:
        names = tool_of(self.tool).files
        if names[0] not in self.files or not set(self.files) <= set(names):
            raise InvalidInput(
                f"{self.tool} takes {' and '.join(names)}, not {', '.join(sorted(self.files)) or 'nothing'}"
            )
        if sum(map(len, self.files.values())) > REQUEST_BYTES:
            raise InvalidInput(f"{names[0]} is larger than {REQUEST_BYTES // 1024**2} MiB")

    @property
    def empty(self) -> bool:
        """Whether it asks for nothing, as a package.json that only describes the script does."""
        tool = tool_of(self.tool)
        return tool.empty(self.files[tool.files[0]])

    def key(self, *parts: str) -> str:
        """Return the SHA-256, as hex, over the request and whatever else the result depends on."""
        files = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
        return hashlib.sha256(
            json.dumps([_FORMAT, self.tool, files, *parts], sort_keys=True).encode()
        ).hexdigest()

    @classmethod
    def of_text(cls, tool: str, text: bytes) -> PackageRequest:
        """Return the request of what the tool's list of packages holds."""
        return cls(tool=tool, files={tool_of(tool).files[0]: text})

    @classmethod
    def of_names(cls, tool: str, names: Sequence[str]) -> PackageRequest:
        """Return the request for packages as the tool writes them, such as `numpy==1.26.4`."""
        return cls.of_text(tool, tool_of(tool).listing(names))

    @classmethod
    def of_path(cls, path: Path) -> PackageRequest:
        """Return the request of a file on the host, with the lock file beside it where there is one. Blocks.

        Raises:
            InvalidInput: The file's name says nothing to any tool, or it cannot be read.
        """
        for tool in TOOLS.values():
            if tool.reads(path.name):
                return cls(tool=tool.name, files=_read_files(path, tool.files))
        known = " or ".join(tool.files[0] for tool in TOOLS.values())
        raise InvalidInput(f"cannot tell what installs {path.name!r}: name the file {known}")


def tool_of(name: str) -> PackageTool:
    """Return the tool of that name. Raises `InvalidInput` where there is none."""
    if name not in TOOLS:
        raise InvalidInput(f"packages are installed by {' or '.join(TOOLS)}, not by {name!r}")
    return TOOLS[name]


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


def request_of(packages: Packages, runtime: Runtime) -> PackageRequest:
    """Return what a caller asks for; blocks where it is a file.

    Args:
        packages: A request, a file on the host, the text of such a file, or names by their tool, as
            in `{"pip": [...]}`.
        runtime: Which must install such packages.

    Raises:
        InvalidInput: It is none of these, or the runtime installs no such packages.
    """
    if runtime.packages is None:
        raise InvalidInput(
            f"the runtime {runtime.name} takes no packages; its manifest has no table [packages]"
        )
    tool = runtime.packages.tool
    request = _asked(packages, tool)
    if request.tool != tool:
        raise InvalidInput(f"the runtime {runtime.name} installs packages by {tool}, not by {request.tool}")
    return request


def _asked(packages: Packages, tool: str) -> PackageRequest:
    if isinstance(packages, PackageRequest):
        return packages
    if isinstance(packages, Path):
        return PackageRequest.of_path(packages)
    if isinstance(packages, str):
        return PackageRequest.of_text(tool, packages.encode())
    if len(packages) != 1:
        raise InvalidInput("packages must be " + " or ".join(f'{{"{name}": […]}}' for name in TOOLS))
    return PackageRequest.of_names(*next(iter(packages.items())))

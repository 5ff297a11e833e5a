"""npm: packages of JavaScript, by a package.json and, where there is one, its lock file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from emberbox.runtimes.package_tools.base import PackageTool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emberbox.runtimes.package_tools.base import Installation

_LOCK = "package-lock.json"
_OPTIONS = [
    "--omit=dev",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--no-progress",
    "--loglevel=error",
]


class Npm(PackageTool):
    """Installs into `node_modules` at the root, where Node.js looks by itself from each folder."""

    name = "npm"
    files = ("package.json", _LOCK)
    entry = (
        r"(@[a-z0-9~-][a-z0-9._~-]{0,127}/)?[a-z0-9~-][a-z0-9._~-]{0,127}"
        r"(@[A-Za-z0-9^~<>=.*-][A-Za-z0-9^~<>=.*+-]{0,127})?"
    )
    entry_allowed = "a package, such as lodash@4.17.21 or @scope/name@1"
    place = "node_modules"
    taken = ("node_modules",)
    in_target = True
    setting = "npm_registry"
    own_index = ("npm", "config", "get", "registry")
    error_marks = ("npm ERR!", *PackageTool.error_marks)

    def empty(self, text: bytes) -> bool:
        """Tell whether it names no dependencies, as one that only describes the script."""
        try:
            about = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return isinstance(about, dict) and not any(
            about.get(name) for name in ("dependencies", "optionalDependencies")
        )

    def listing(self, names: Sequence[str]) -> bytes:
        """Return the package.json that depends on these: `lodash@4.17.21`."""
        return json.dumps({"private": True, "dependencies": dict(map(_parts, names))}).encode()

    def command(self, installation: Installation) -> tuple[str, ...]:
        """Return the call of npm; with a lock file it installs what that holds."""
        return (
            *("npm", "ci" if _LOCK in installation.files else "install", *_OPTIONS),
            f"--registry={installation.index}",
            f"--prefix={installation.target}",
            "--cache=/tmp/npm",
            f"--proxy={installation.proxy}",
            f"--https-proxy={installation.proxy}",
            "--noproxy=",
            "--fetch-retries=1",
            *((f"--cafile={installation.authorities}",) if installation.authorities else ()),
        )

    def telling(self, errors: list[str]) -> list[str]:
        """Return the first ones: npm begins with what is wrong, and ends with advice."""
        return [line for line in errors if line.rstrip("! ").rpartition(" ")[2] not in ("404", "ERR")][:4]


def _parts(name: str) -> tuple[str, str]:
    package, found, version = name[1:].partition("@")
    return name[0] + package, version if found else "*"


TOOL = Npm()

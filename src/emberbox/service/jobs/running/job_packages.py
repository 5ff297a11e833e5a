"""Packages that a job brings along, listed at the root of its files for its runtime's tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput
from emberbox.sandbox.packages.requests import REQUEST_BYTES, PackageRequest, tool_of

if TYPE_CHECKING:
    from emberbox.runtimes import Runtime
    from emberbox.service.uploads.contents import Contents
    from emberbox.store.records import ContentRecord, JobRecord


async def packages_of(contents: Contents, job: JobRecord, runtime: Runtime) -> PackageRequest | None:
    """Return what a job asks for; None where it asks for nothing, or its runtime installs nothing.

    Files that came with the job win over those of its script.

    Raises:
        InvalidInput: The file is too large.
    """
    if runtime.packages is None:
        return None
    tool, found = tool_of(runtime.packages.tool), {}
    for digest in (job.content_sha, job.files_sha):
        if digest is None:
            continue
        content = await contents.get(digest)
        if content.kind == "bundle":
            found.update(await _found(contents, content, tool.files))
    if tool.files[0] not in found:
        return None
    request = PackageRequest(tool=tool.name, files=found)
    return None if request.empty else request


async def _found(contents: Contents, content: ContentRecord, names: tuple[str, ...]) -> dict[str, bytes]:
    files = {}
    for entry in content.entries:
        if entry["path"] in names:
            if entry["size"] > REQUEST_BYTES:
                raise InvalidInput(f"{entry['path']} is larger than {REQUEST_BYTES // 1024**2} MiB")
            files[entry["path"]] = b"".join(
                [piece async for piece in contents.stream_file(content, entry["path"])]
            )
    return files

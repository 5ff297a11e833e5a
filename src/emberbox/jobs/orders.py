"""From what a caller asks for to an order that can be stored: checked against the settings, its bytes put away."""

from __future__ import annotations

import base64
import binascii
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from emberbox.errors import InvalidInput, InvalidPath, PayloadTooLarge
from emberbox.jobs.acceptance import JobOrder
from emberbox.jobs.contents import BundleFile
from emberbox.schemas.jobs import EncodedFile, SubmitJob
from emberbox.store.records import JobSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from emberbox.config import JobSettings
    from emberbox.jobs.service import Service
    from emberbox.runtimes import Runtime
    from emberbox.schemas.jobs import RunOptions
    from emberbox.store.records import KeyRecord

CODE_NAME = "main"


async def order_for_code(service: Service, key: KeyRecord, body: SubmitJob) -> JobOrder:
    """Return the order for a job of inline code, whose bytes are stored.

    Raises:
        UnknownRuntime, InvalidInput, PayloadTooLarge, QuotaExceeded, NoSpace: Nothing was ordered.
    """
    runtime = service.engine.runtimes.get(body.runtime)
    spec = _spec(service.settings.jobs, runtime, body)
    files = _files(body.files)
    entry = _entry(runtime, body, files)
    if body.code is not None:
        content = await service.contents.put_file(entry, body.code.encode())
        files_sha = (await service.contents.put_bundle(files)).sha256 if files else None
    else:
        content = await service.contents.put_bundle(files)
        files_sha = None
    return await _order(service, body, spec, runtime=runtime.name, entry=entry, content_sha=content.sha256, files_sha=files_sha)


async def order_for_script(service: Service, key: KeyRecord, script_id: str, body: RunOptions) -> JobOrder:
    """Return the order for a run of a script. Raises `NotFound` and what `order_for_code` raises."""
    script = await service.scripts.get(key, script_id)
    runtime = service.engine.runtimes.get(script.runtime)
    spec = _spec(service.settings.jobs, runtime, body)
    files = _files(body.files)
    files_sha = (await service.contents.put_bundle(files)).sha256 if files else None
    return await _order(
        service, body, spec, runtime=runtime.name, entry=script.entry, content_sha=script.content_sha, files_sha=files_sha,
        script_id=script.id, labels={**script.labels, **body.labels},
    )  # fmt: skip


async def _order(
    service: Service,
    body: RunOptions,
    spec: JobSpec,
    *,
    runtime: str,
    entry: str,
    content_sha: str,
    files_sha: str | None,
    script_id: str | None = None,
    labels: dict[str, str] | None = None,
) -> JobOrder:
    stdin = _stdin(service.settings.jobs, body)
    stdin_sha = (await service.contents.put_file("stdin", stdin)).sha256 if stdin is not None else None
    hook = body.webhook
    if hook is not None:
        service.webhooks.check_url(str(hook.url))
    return JobOrder(
        runtime=runtime,
        entry=entry,
        content_sha=content_sha,
        files_sha=files_sha,
        stdin_sha=stdin_sha,
        spec=spec,
        labels=labels if labels is not None else dict(body.labels),
        webhook=None if hook is None else {"url": str(hook.url), "secret": hook.secret},
        priority=body.priority,
        name=body.name,
        script_id=script_id,
    )


def _spec(bounds: JobSettings, runtime: Runtime, body: RunOptions) -> JobSpec:
    for name in ("timeout_s", "memory_mib", "vcpus", "retries"):
        value, bound = getattr(body, name), getattr(bounds, name)
        if value is not None and value > bound:
            raise InvalidInput(f"{name} may be at most {bound:g} here, not {value:g}")
    timeout_s = (
        body.timeout_s if body.timeout_s is not None else min(runtime.limits.timeout_s or bounds.timeout_s, bounds.timeout_s)
    )
    memory_mib = body.memory_mib if body.memory_mib is not None else runtime.limits.memory_mib
    if body.disk_mib is not None and body.disk_mib > memory_mib:
        raise InvalidInput(f"disk_mib may be at most the VM's memory ({memory_mib}), not {body.disk_mib}: files are kept in it")
    for pattern in body.artifacts:
        if pattern.startswith("/") or ".." in PurePosixPath(pattern).parts:
            raise InvalidPath(f"artifacts: {pattern!r} must be relative to the work folder, without '..'")
    return JobSpec(
        args=list(body.args),
        env=dict(body.env),
        artifacts=list(body.artifacts),
        timeout_s=timeout_s,
        cpu_s=body.cpu_s,
        memory_mib=body.memory_mib,
        vcpus=body.vcpus,
        disk_mib=body.disk_mib,
        pids=body.pids,
        output_bytes=min(body.output_bytes or bounds.log_bytes, bounds.log_bytes),
        network=body.network,
        retries=body.retries,
        interactive=body.interactive,
        cold=body.cold,
    )


def _entry(runtime: Runtime, body: SubmitJob, files: list[BundleFile]) -> str:
    if body.code is not None:
        if not body.code:
            raise InvalidInput("code is empty; there is nothing to run")
        entry = body.entry or CODE_NAME + (runtime.extensions[0] if runtime.extensions else "")
        _check_path(entry)
        return entry
    names = {file.path for file in files}
    entry = body.entry or next((name for name in runtime.main if name in names), "")
    if entry not in names:
        wanted = f"entry {entry!r} is not among them" if entry else f"name one by 'entry', or call it {' or '.join(runtime.main)}"
        raise InvalidInput(f"there is no 'code', and of 'files' none can be run: {wanted}")
    return entry


def _files(files: Mapping[str, str | EncodedFile]) -> list[BundleFile]:
    bundle = []
    for path, content in files.items():
        _check_path(path)
        data = _decoded(f"files[{path!r}]", content.base64) if isinstance(content, EncodedFile) else content.encode()
        bundle.append(BundleFile(path, data))
    return bundle


def _check_path(path: str) -> None:
    pure = PurePosixPath(path)
    plain = str(pure) == path and path != "." and not pure.is_absolute() and ".." not in pure.parts
    if not plain or any(len(part.encode()) > 255 for part in pure.parts):
        raise InvalidPath(f"{path[:200]!r} must be a plain path below the work folder, such as data/input.txt")


def _stdin(bounds: JobSettings, body: RunOptions) -> bytes | None:
    if body.stdin is not None and body.stdin_base64 is not None:
        raise InvalidInput("give stdin or stdin_base64, not both")
    if body.interactive and (body.stdin is not None or body.stdin_base64 is not None):
        raise InvalidInput("an interactive job is fed through its WebSocket; leave out stdin")
    data = body.stdin.encode() if body.stdin is not None else None
    if body.stdin_base64 is not None:
        data = _decoded("stdin_base64", body.stdin_base64)
    if data is not None and len(data) > bounds.stdin_bytes:
        raise PayloadTooLarge(f"stdin may be at most {bounds.stdin_bytes} bytes here, not {len(data)}; upload it as a file")
    return data


def _decoded(where: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{where} is not base 64: {error}") from error

"""From a request to an order: checked against the settings, its bytes counted and hashed."""

from __future__ import annotations

import base64
import binascii
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from emberbox.errors import InvalidInput, InvalidPath, PayloadTooLarge
from emberbox.files.globs import parse_glob
from emberbox.files.paths import check_plain
from emberbox.model import RunOptions
from emberbox.sandbox.machines.plan import disk_of, size_of
from emberbox.schemas.jobs import EncodedFile, SubmitJob
from emberbox.schemas.jobs import RunOptions as AskedOptions
from emberbox.service.jobs.submitting.order import JobOrder
from emberbox.service.ownership import check_own
from emberbox.service.uploads.bundles import BundleFile
from emberbox.store.records import JOB_OPTIONS, JobSpec, KeyRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from emberbox.config import JobSettings
    from emberbox.runtimes import Runtime, RuntimeCatalog
    from emberbox.service.uploads.bundles import Plan
    from emberbox.service.uploads.contents import Contents
    from emberbox.service.uploads.scripts import Scripts

CODE_NAME = "main"


class Orders:
    """Makes orders. Nothing is ordered when one of its methods raises, and nothing is stored in any case.

    Args:
        runtimes: The runtimes that there are.
        settings: What one job may ask for.
        largest_mib: The most memory that a VM can have here, in MiB.
        contents: Plans code, files and standard input.
        scripts: What was uploaded.
        check_url: Raises `InvalidInput` when a webhook's URL may not be called.
    """

    def __init__(
        self,
        runtimes: RuntimeCatalog,
        settings: JobSettings,
        largest_mib: int,
        contents: Contents,
        scripts: Scripts,
        *,
        check_url: Callable[[str], object],
    ) -> None:
        self._runtimes = runtimes
        self._settings = settings
        self._largest_mib = largest_mib
        self._contents = contents
        self._scripts = scripts
        self._check_url = check_url

    async def for_code(self, body: SubmitJob) -> JobOrder:
        """Return the order for a job of inline code.

        Raises:
            UnknownRuntime, InvalidInput, PayloadTooLarge: Nothing was ordered.
        """
        runtime = self._runtimes.get(body.runtime)
        spec = _spec(self._settings, self._largest_mib, runtime, body)
        files = _files(body.files)
        entry = _entry(runtime, body, files)
        if body.code is not None:
            content = await self._contents.plan_file(entry, body.code.encode())
        else:
            content, files = await self._contents.plan_bundle(files), []
        return await self._order(
            body,
            files,
            [content],
            runtime=runtime.name,
            entry=entry,
            content_sha=content.sha256,
            spec=spec,
            labels=dict(body.labels),
        )

    async def for_script(self, key: KeyRecord, script_id: str, body: AskedOptions) -> JobOrder:
        """Return the order for a run of a script of the key's team.

        Raises `NotFound`, `NotAllowed` and what `for_code` raises.
        """
        script = await self._scripts.get(key, script_id)
        check_own(key, script)
        runtime = self._runtimes.get(script.runtime)
        spec = _spec(self._settings, self._largest_mib, runtime, body)
        return await self._order(
            body,
            _files(body.files),
            [],
            runtime=runtime.name,
            entry=script.entry,
            content_sha=script.content_sha,
            spec=spec,
            labels={**script.labels, **body.labels},
            script_id=script.id,
        )

    async def _order(
        self, body: AskedOptions, files: list[BundleFile], plans: list[Plan], **facts: Any
    ) -> JobOrder:
        """Make the order, with what is asked for in the same way of code and of a script.

        Args:
            body: What is asked for.
            files: Beside the code or the script.
            plans: What is to be stored already.
            **facts: What is known of the order already.
        """
        hook = body.webhook
        if hook is not None:
            self._check_url(str(hook.url))
        data = _stdin(self._settings, body)
        beside = await self._contents.plan_bundle(files) if files else None
        stdin = None if data is None else await self._contents.plan_file("stdin", data)
        return JobOrder(
            **facts,
            plans=tuple(plan for plan in (*plans, beside, stdin) if plan is not None),
            files_sha=None if beside is None else beside.sha256,
            stdin_sha=None if stdin is None else stdin.sha256,
            webhook=None if hook is None else {"url": str(hook.url), "secret": hook.secret},
            priority=body.priority,
            name=body.name,
        )


def _spec(bounds: JobSettings, largest_mib: int, runtime: Runtime, body: AskedOptions) -> JobSpec:
    for name in ("timeout_s", "memory_mib", "vcpus", "retries"):
        value, bound = getattr(body, name), getattr(bounds, name)
        if value is not None and value > bound:
            raise InvalidInput(f"{name} may be at most {bound:g} here, not {value:g}")
    usual_s = min(runtime.limits.timeout_s or bounds.timeout_s, bounds.timeout_s)
    timeout_s = body.timeout_s if body.timeout_s is not None else usual_s
    sizes = _sizes(largest_mib, runtime, body)
    try:
        for pattern in body.artifacts:
            parse_glob(pattern)
    except InvalidPath as error:
        raise InvalidPath(f"artifacts: {error.message}") from error
    options = {option.name: getattr(body, option.name) for option in fields(RunOptions)}
    output_bytes = min(body.output_bytes or bounds.log_bytes, bounds.log_bytes)
    options |= {"timeout_s": timeout_s, "output_bytes": output_bytes, **sizes}
    chosen = RunOptions(**options)
    chosen.check()
    return JobSpec(options=chosen, **{name: getattr(body, name) for name in JOB_OPTIONS})


def _sizes(largest_mib: int, runtime: Runtime, body: AskedOptions) -> dict[str, int]:
    """Return the sizes that are asked for, rounded up as the engine does it: a job is charged so.

    Raises `InvalidInput` for what the engine would refuse.
    """
    size = size_of(runtime, body.memory_mib, body.vcpus)
    disk_of(runtime, body.disk_mib, size)
    if size.memory_mib > largest_mib:
        raise InvalidInput(f"a VM has at most {largest_mib:,} MiB of memory here, not {size.memory_mib:,}")
    return {name: value for name, value in asdict(size).items() if getattr(body, name) is not None}


def _entry(runtime: Runtime, body: SubmitJob, files: list[BundleFile]) -> str:
    if body.code is not None:
        if not body.code:
            raise InvalidInput("code is empty; there is nothing to run")
        entry = body.entry or CODE_NAME + (runtime.extensions[0] if runtime.extensions else "")
        check_plain(entry)
        return entry
    names = {file.path for file in files}
    entry = body.entry or next((name for name in runtime.main if name in names), "")
    if entry not in names:
        wanted = (
            f"entry {entry!r} is not among them"
            if entry
            else f"name one by 'entry', or call it {' or '.join(runtime.main)}"
        )
        raise InvalidInput(f"there is no 'code', and of 'files' none can be run: {wanted}")
    return entry


def _files(files: Mapping[str, str | EncodedFile]) -> list[BundleFile]:
    bundle = []
    for path, content in files.items():
        check_plain(path)
        data = (
            _decoded(f"files[{path!r}]", content.base64)
            if isinstance(content, EncodedFile)
            else content.encode()
        )
        bundle.append(BundleFile(path, data))
    return bundle


def _stdin(bounds: JobSettings, body: AskedOptions) -> bytes | None:
    if body.stdin is not None and body.stdin_base64 is not None:
        raise InvalidInput("give stdin or stdin_base64, not both")
    if body.interactive and (body.stdin is not None or body.stdin_base64 is not None):
        raise InvalidInput("an interactive job is fed through its WebSocket; leave out stdin")
    data = body.stdin.encode() if body.stdin is not None else None
    if body.stdin_base64 is not None:
        data = _decoded("stdin_base64", body.stdin_base64)
    if data is not None and len(data) > bounds.stdin_bytes:
        raise PayloadTooLarge(
            f"stdin may be at most {bounds.stdin_bytes} bytes here, not {len(data)}; upload it as a file"
        )
    return data


def _decoded(where: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(f"{where} is not base 64: {error}") from error

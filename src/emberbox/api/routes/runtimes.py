"""Runtimes: the languages that can be run."""

import asyncio
from collections.abc import Collection
from typing import Annotated

from fastapi import APIRouter, Path, Response

from emberbox.api.auth import Reader, ServiceDep
from emberbox.api.views import answer
from emberbox.errors import RequirementMissing
from emberbox.images import ImageStore
from emberbox.jobs.service import Service
from emberbox.runtimes import Runtime
from emberbox.sandbox.stored_templates import stored_templates
from emberbox.schemas.base import Page
from emberbox.schemas.runtimes import RuntimeInfo, RuntimeLimits

router = APIRouter(tags=["runtimes"])

RuntimeName = Annotated[str, Path(description="The runtime's name or one of its aliases.", examples=["python"])]


@router.get("/v1/runtimes", response_model=Page[RuntimeInfo], summary="List runtimes")
async def list_runtimes(service: ServiceDep, key: Reader) -> Response:
    """List the languages that can be run, by name. There is one page only."""
    found = await asyncio.to_thread(_describe_all, service, list(service.engine.runtimes))
    return answer(Page[RuntimeInfo].model_construct(items=found, next_cursor=None))


@router.get("/v1/runtimes/{name}", response_model=RuntimeInfo, summary="Look at a runtime")
async def get_runtime(name: RuntimeName, service: ServiceDep, key: Reader) -> Response:
    """Return one runtime, by its name or an alias."""
    runtime = service.engine.runtimes.get(name)
    return answer((await asyncio.to_thread(_describe_all, service, [runtime]))[0])


def _describe_all(service: Service, runtimes: Collection[Runtime]) -> list[RuntimeInfo]:
    # Engines of tests have no images.
    store: ImageStore | None = getattr(service.engine, "images", None)
    if store is None:
        return [_describe(runtime, None, None) for runtime in runtimes]
    frozen = {record.runtime for record in stored_templates(service.settings.data / "templates")}
    return [_describe(runtime, _built(store, runtime), runtime.name in frozen) for runtime in runtimes]


def _built(store: ImageStore, runtime: Runtime) -> bool:
    try:
        return store.find(runtime) is not None
    except RequirementMissing:
        return False


def _describe(runtime: Runtime, built: bool | None, template: bool | None) -> RuntimeInfo:
    limits = runtime.limits
    return RuntimeInfo(
        name=runtime.name,
        version=runtime.version,
        description=runtime.description,
        aliases=list(runtime.aliases),
        extensions=list(runtime.extensions),
        main=list(runtime.main),
        compiled=runtime.compile is not None,
        waiting=runtime.waiting is not None,
        limits=RuntimeLimits(
            timeout_s=limits.timeout_s,
            memory_mib=limits.memory_mib,
            vcpus=limits.vcpus,
            disk_mib=limits.disk_mib,
            pids=limits.pids,
        ),
        built=built,
        template=template,
    )

"""Runtimes: the languages that can be run."""

import asyncio
from collections.abc import Collection
from typing import Annotated

from fastapi import APIRouter, Path, Response

from emberbox.api.auth import Reader
from emberbox.api.parts import EnginePart
from emberbox.api.views import answer, page
from emberbox.errors import RequirementMissing
from emberbox.images import ImageStore
from emberbox.runtimes import Runtime
from emberbox.sandbox import Engine
from emberbox.sandbox.templates.stored import stored_templates
from emberbox.schemas.base import Page
from emberbox.schemas.runtimes import RuntimeInfo, RuntimeLimits

router = APIRouter(tags=["runtimes"])

RuntimeName = Annotated[
    str, Path(description="The runtime's name or one of its aliases.", examples=["python"])
]


@router.get("/v1/runtimes", response_model=Page[RuntimeInfo], summary="List runtimes")
async def list_runtimes(_: Reader, engine: EnginePart) -> Response:
    """List the languages that can be run, by name. There is one page only."""
    found = await asyncio.to_thread(_describe_all, engine, list(engine.runtimes))
    return page(Page[RuntimeInfo], found)


@router.get("/v1/runtimes/{name}", response_model=RuntimeInfo, summary="Look at a runtime")
async def get_runtime(name: RuntimeName, _: Reader, engine: EnginePart) -> Response:
    """Return one runtime, by its name or an alias."""
    runtime = engine.runtimes.get(name)
    return answer((await asyncio.to_thread(_describe_all, engine, [runtime]))[0])


def _describe_all(engine: Engine, runtimes: Collection[Runtime]) -> list[RuntimeInfo]:
    # Engines of tests have no images.
    store: ImageStore | None = getattr(engine, "images", None)
    if store is None:
        return [_describe(runtime, None, None) for runtime in runtimes]
    frozen = {record.runtime for record in stored_templates(engine.settings.data / "templates")}
    return [_describe(runtime, _built(store, runtime), runtime.name in frozen) for runtime in runtimes]


def _built(store: ImageStore, runtime: Runtime) -> bool:
    try:
        return store.find(runtime) is not None
    except RequirementMissing:
        return False


def _describe(runtime: Runtime, built: bool | None, template: bool | None) -> RuntimeInfo:
    return RuntimeInfo(
        name=runtime.name,
        version=runtime.version,
        description=runtime.description,
        aliases=list(runtime.aliases),
        extensions=list(runtime.extensions),
        main=list(runtime.main),
        compiled=runtime.compile is not None,
        waiting=runtime.waiting is not None,
        limits=RuntimeLimits.model_validate(runtime.limits, from_attributes=True),
        built=built,
        template=template,
    )

"""Pools: VMs that are kept ready."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from emberbox.api.auth import Manager, Operator
from emberbox.api.parts import EnginePart, ReadyCheck
from emberbox.api.views import answer
from emberbox.schemas.system import Pool, PoolChanged, PoolOrder, Pools

router = APIRouter(tags=["system"])


@router.get("/v1/pools", response_model=Pools, summary="List pools")
async def list_pools(_: Operator, engine: EnginePart) -> Response:
    """Return what each pool of this node holds. There is one for each runtime and size that was used."""
    pools = [Pool.model_validate(pool, from_attributes=True) for pool in engine.pools()]
    return answer(Pools(items=pools, maximum=engine.settings.pool.maximum))


@router.put("/v1/pools/{runtime}", response_model=PoolChanged, summary="Keep VMs ready")
async def keep_ready(
    _: Manager,
    check_ready: ReadyCheck,
    engine: EnginePart,
    runtime: Annotated[str, Path(max_length=64, description="Name or alias.")],
    body: PoolOrder,
) -> Response:
    """Keep so many VMs of a runtime ready from now on, until the service ends.

    Builds the runtime's image and template where there are none, which takes up to minutes;
    `wait_s` bounds the wait for the VMs alone.
    """
    found = engine.runtimes.get(runtime)
    check_ready()
    filled = await engine.warm_pool(
        found.name, body.ready, memory_mib=body.memory_mib, vcpus=body.vcpus, timeout_s=body.wait_s
    )
    return answer(PoolChanged(runtime=found.name, ready=body.ready, filled=filled))

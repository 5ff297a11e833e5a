"""Pools: VMs that are kept ready."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from emberbox.api.auth import Admin, Reader
from emberbox.api.parts import ServicePart
from emberbox.api.views import answer
from emberbox.schemas.system import Pool, PoolChanged, PoolOrder, Pools

router = APIRouter(tags=["system"])


@router.get("/v1/pools", response_model=Pools, summary="List pools")
async def list_pools(_: Reader, service: ServicePart) -> Response:
    """Return what each pool of this node holds. There is one for each runtime and size that was used."""
    pools = [Pool.model_validate(pool, from_attributes=True) for pool in service.engine.pools()]
    return answer(Pools(items=pools, maximum=service.engine.settings.pool.maximum))


@router.put("/v1/pools/{runtime}", response_model=PoolChanged, summary="Keep VMs ready")
async def keep_ready(
    _: Admin,
    service: ServicePart,
    runtime: Annotated[str, Path(max_length=64, description="Name or alias.")],
    body: PoolOrder,
) -> Response:
    """Keep so many VMs of a runtime ready from now on, until the service ends.

    Builds the runtime's image and template where there are none, which takes up to minutes;
    `wait_s` bounds the wait for the VMs alone.
    """
    found = service.engine.runtimes.get(runtime)
    service.check_ready()
    filled = await service.engine.warm_pool(
        found.name, body.ready, memory_mib=body.memory_mib, vcpus=body.vcpus, timeout_s=body.wait_s
    )
    return answer(PoolChanged(runtime=found.name, ready=body.ready, filled=filled))

"""From what a script asks for to the layers of its sandbox: looked up, or installed once by a build VM."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from emberbox.errors import PackagesFailed
from emberbox.model import PackagesResult, elapsed_ms
from emberbox.sandbox.packages.requests import PackageRequest, Packages, request_of, tool_of
from emberbox.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from emberbox.config import PackageSettings
    from emberbox.images import Image
    from emberbox.runtimes import Runtime
    from emberbox.sandbox.leases import Leases
    from emberbox.sandbox.machines.making import MachineMaker
    from emberbox.sandbox.packages.layers import Layer, LayerStore

BAKED = "baked into a manifest"
"""The scope of what manifests name: their owner is the host's."""


class Provision:
    """Installs packages for one engine.

    Args:
        store: Where layers are kept.
        settings: Bounds and indexes.
        maker: Boots build VMs.
        image_of: Returns a runtime's image; builds it when there is none.
        leases: Keep the layers in use.
    """

    def __init__(
        self,
        store: LayerStore,
        settings: PackageSettings,
        maker: MachineMaker,
        image_of: Callable[[Runtime], Awaitable[Image]],
        leases: Leases,
    ) -> None:
        self._settings = settings
        self._store = store
        self._maker = maker
        self._image_of = image_of
        self._gate = Turns(settings.concurrency)
        self._locks: dict[tuple[str | None, str], asyncio.Lock] = {}
        self._leases = leases

    async def layers(
        self, runtime: Runtime, image: Image, packages: Packages | None, scope: str | None
    ) -> tuple[tuple[Layer, ...], PackagesResult | None]:
        """Return a sandbox's layers, and how those of its script came; raises as `layer` does.

        They are those of the manifest, and on top of them what the script brings along.

        Args:
            runtime: What the sandbox runs.
            image: Its image.
            packages: What the script brings along; None for nothing.
            scope: Who asks.
        """
        layers = await self._baked(runtime, image)
        request = None if packages is None else await asyncio.to_thread(request_of, packages, runtime)
        if request is None or request.empty:
            return layers, None
        installed = await self.layer(runtime, image, request, scope)
        return (*layers, installed), installed.result

    async def _baked(self, runtime: Runtime, image: Image) -> tuple[Layer, ...]:
        """Return the layers of what a runtime's manifest names; raises as `layer` does."""
        wanted = [PackageRequest.of_names(tool, names) for tool, names in runtime.image.baked.items()]
        try:
            return tuple([await self.layer(runtime, image, request, BAKED) for request in wanted])
        except PackagesFailed as error:
            message = (
                f"what the manifest of {runtime.name} names in image.{error.result.tool}: {error.message}"
            )
            raise PackagesFailed(replace(error.result, message=message)) from error

    async def layer(
        self, runtime: Runtime, image: Image, request: PackageRequest, scope: str | None
    ) -> Layer:
        """Return the layer of a request; installs it when there is none.

        It is leased for as long as the engine runs. Calls for the same one share the work, across
        processes too. A failure is not remembered.

        Args:
            runtime: Whose tool installs it.
            image: What runs have under the layer.
            request: What is wanted.
            scope: Who asks.

        Raises:
            PackagesFailed: With the tool's own words. VmmError, CapacityExhausted, NoSpace,
            ImageError: The build could not begin, or its result not be kept.
        """
        begun = time.perf_counter()
        key = request.key(image.key, tool_of(request.tool).index(self._settings))
        lock = self._locks.setdefault((scope, key), asyncio.Lock())
        try:
            async with lock:
                layer = await self._found(scope, key, begun)
                if layer is None:
                    layer = await self._install(runtime, request, scope, key, begun)
                await self._lease(layer)
                return layer
        finally:
            if not lock.locked():
                self._locks.pop((scope, key), None)

    async def _found(self, scope: str | None, key: str, begun: float) -> Layer | None:
        """Return a layer that is there; its result tells how long it took to find it."""
        layer = await asyncio.to_thread(self._store.find, scope, key)
        if layer is None:
            return None
        wall_ms = elapsed_ms(begun)
        return replace(layer, result=replace(layer.result, wall_ms=wall_ms))

    async def _install(
        self, runtime: Runtime, request: PackageRequest, scope: str | None, key: str, begun: float
    ) -> Layer:
        # An engine that installs nothing starts without what a proxy takes.
        from emberbox.sandbox.packages.build_vm import BuildVm

        image = await self._image_of(build_runtime(runtime))
        async with self._store.building(scope, key) as folder:
            if (found := await self._found(scope, key, begun)) is not None:
                return found
            async with self._gate.place(scope):
                result = await BuildVm(self._settings, request).install(self._maker, image, folder)
            layer = await asyncio.to_thread(self._store.keep, scope, key, folder / "layer.ext4", result)
        await self._lease(layer)
        await asyncio.to_thread(self._store.trim)
        return layer

    async def _lease(self, layer: Layer) -> None:
        await self._leases.hold(layer.digest, partial(self._store.lease, layer))


def build_runtime(runtime: Runtime) -> Runtime:
    """Return the runtime whose image a build VM boots.

    It is the same, or one with the Debian packages that only installing needs.
    """
    extra = () if runtime.packages is None else runtime.packages.build
    if not extra:
        return runtime
    packages = (*runtime.image.packages, *(name for name in extra if name not in runtime.image.packages))
    return replace(
        runtime,
        name=f"{runtime.name}-build",
        # What a runtime leaves out may be just what installing needs.
        image=replace(runtime.image, packages=packages, remove=()),
        fingerprint=hashlib.sha256(f"{runtime.fingerprint} build".encode()).hexdigest(),
    )

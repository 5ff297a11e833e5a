"""The build VM: installs packages, and is thrown away with all that their code did.

It boots the runtime's image, has no network device, and reaches the package index through the filtering proxy alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import GuestError, GuestRequestFailed, PackagesFailed, VmmError
from emberbox.guest import ExecLimits, ExecRequest
from emberbox.images.layers import LayerBounds, LayerRefused, make_layer
from emberbox.model import MIB, PackagesResult
from emberbox.sandbox.filtering_proxy import FilteringProxy
from emberbox.sandbox.machines import MachineSize
from emberbox.sandbox.packages import OWN_INDEX, PLACES, SETTING, TARGET, failure_message, index_of, install_command
from emberbox.sandbox.proxy_link import ProxyLink
from emberbox.sandbox.proxy_rules import ProxyRules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from emberbox.config import PackageSettings
    from emberbox.guest import ExecOutcome, GuestClient
    from emberbox.images import Image
    from emberbox.sandbox.machines import MachineMaker
    from emberbox.sandbox.packages import PackageRequest

_log = logging.getLogger(__name__)

OUTPUT_BYTES = 65_536
_TRANSFER_S = 300.0
_READY_S = 30.0
_GRACE_S = 10.0
_PIDS = 512
_AUTHORITIES = "/tmp/emberbox-authorities.pem"  # noqa: S108  in the guest
_AUTHORITIES_BYTES = 4 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildVm:
    """Makes layers in VMs of an image.

    Args:
        maker: Boots them.
        settings: Bounds, and where they may go.
    """

    maker: MachineMaker
    settings: PackageSettings

    async def install(self, image: Image, request: PackageRequest, folder: Path) -> PackagesResult:
        """Install packages into the file system `folder/layer.ext4`.

        Args:
            image: What the VM boots.
            request: What is wanted.
            folder: Scratch folder of the caller, who removes it.

        Raises:
            PackagesFailed: With the tool's own words; whatever the packages' code did to its VM is told likewise.
            VmmError, CapacityExhausted: The VM did not start.
            NoSpace, ImageBuildFailed: The host could not write the layer.
        """
        begun = time.perf_counter()
        size = MachineSize(vcpus=1, memory_mib=self.settings.memory_mib)
        live = await self.maker.boot(image, size, disk_mib=self.settings.disk_mib)
        try:
            try:
                outcome, proxy = await self._run(live.guest, request)
                if outcome.exit_code == 0:
                    await self._take(live.guest, request.tool, folder / "layer.tar")
            finally:
                await live.undo.close()
        except (GuestError, VmmError) as error:
            raise self._failed(request, "vm_died", begun, f"the build VM ended: {error.message}") from error
        output = outcome.stdout[-OUTPUT_BYTES:]
        if outcome.exit_code != 0:
            reason, message = self._verdict(request, outcome, proxy)
            raise self._failed(request, reason, begun, message, output, proxy.downloaded_bytes)
        bounds = LayerBounds(folder=PLACES[request.tool], size=self.settings.layer_mib * MIB, files=self.settings.layer_files)
        try:
            await make_layer(folder / "layer.tar", folder / "root", folder / "layer.ext4", bounds)
        except LayerRefused as error:
            raise self._failed(request, "refused", begun, error.message, output, proxy.downloaded_bytes) from error
        return PackagesResult(
            ok=True, reason="installed", tool=request.tool, wall_ms=(time.perf_counter() - begun) * 1000,
            output_data=output, downloaded_bytes=proxy.downloaded_bytes,
        )  # fmt: skip

    # -- in the VM --------------------------------------------------------------------------------------------

    async def _run(self, guest: GuestClient, request: PackageRequest) -> tuple[ExecOutcome, FilteringProxy]:
        folder = TARGET if request.tool == "npm" else "/work"
        await guest.make_directory(TARGET)
        for name, data in request.files.items():
            await guest.write_file(f"{folder}/{name}", data)
        # Whom the host trusts, the VM trusts: a company's own index has a certificate of its own.
        authorities = await asyncio.to_thread(_authorities)
        if authorities is not None:
            await guest.write_file(_AUTHORITIES, authorities)
        rules = ProxyRules(await self._settled(guest, request.tool), request.tool)
        proxy = FilteringProxy(rules, self.settings.download_mib * MIB)
        try:
            async with self._proxied(guest, proxy):
                trusted = None if authorities is None else _AUTHORITIES
                return await self._install(guest, install_command(request, rules.index, trusted), folder), proxy
        finally:
            proxy.report()

    async def _settled(self, guest: GuestClient, tool: str) -> PackageSettings:
        """Return the settings with an index: theirs, else the tool's own, which it is asked for before anything else runs."""
        if index_of(self.settings, tool):
            return self.settings
        process = await guest.start(ExecRequest(argv=OWN_INDEX[tool], limits=ExecLimits(wall_ms=int(_READY_S * 1000))))
        told = await process.collect(keep_stdout=1024, keep_stderr=1024, timeout_s=_READY_S + _GRACE_S)
        address, *hosts = told.stdout.decode("ascii", "replace").split() or [""]
        if told.exit_code != 0 or not address:
            raise GuestRequestFailed("internal", f"{tool} does not tell its index; set it in packages.{SETTING[tool]}")
        own = {SETTING[tool]: address, "hosts": ",".join([*hosts, self.settings.hosts])}
        return replace(self.settings, **own)  # type: ignore[arg-type]

    async def _install(self, guest: GuestClient, command: tuple[str, ...], folder: str) -> ExecOutcome:
        address = "http://127.0.0.1:3128"
        process = await guest.start(
            ExecRequest(
                # One stream for both, so that what the tool says stays in its order.
                argv=("sh", "-c", 'exec "$@" 2>&1', "sh", *command),
                env={"http_proxy": address, "https_proxy": address, "HTTP_PROXY": address, "HTTPS_PROXY": address},
                cwd=folder,
                limits=ExecLimits(
                    wall_ms=int(self.settings.timeout_s * 1000), pids=_PIDS, stdout_keep=16 * OUTPUT_BYTES, output_max=64 * MIB
                ),
            )
        )
        return await process.collect(keep_stdout=16 * OUTPUT_BYTES, keep_stderr=0, timeout_s=self.settings.timeout_s + _GRACE_S)

    @contextlib.asynccontextmanager
    async def _proxied(self, guest: GuestClient, proxy: FilteringProxy) -> AsyncIterator[None]:
        """Have the guest's programs reach the proxy for as long as the context lasts."""
        process = await guest.start(
            ExecRequest(
                argv=("/proc/1/exe", "proxy"),
                user="root",
                cwd="/",
                stdin=True,
                limits=ExecLimits(wall_ms=None, stdout_keep=None, stderr_keep=4096, output_max=None),
            )
        )
        link = ProxyLink(process, proxy.serve)
        carrying = asyncio.create_task(link.run(), name="proxy-link")
        try:
            ready = asyncio.create_task(link.ready.wait(), name="proxy-ready")
            try:
                await asyncio.wait({carrying, ready}, timeout=_READY_S, return_when=asyncio.FIRST_COMPLETED)
            finally:
                ready.cancel()
            if not link.ready.is_set():
                raise GuestRequestFailed("internal", "the build VM's proxy did not start")
            yield
        finally:
            carrying.cancel()
            await asyncio.wait({carrying})
            process.abandon()
            if not carrying.cancelled() and (error := carrying.exception()) is not None:
                _log.warning("the proxy of a build VM ended: %s", error, extra={"action": "packages.proxy_ended"})

    async def _take(self, guest: GuestClient, tool: str, archive: Path) -> None:
        """Write what was installed to a file of the host, as a tar that nobody has looked into yet."""
        patterns = ("node_modules",) if tool == "npm" else None
        size, files = self.settings.layer_mib * MIB, self.settings.layer_files
        download = guest.tar_out(TARGET, patterns=patterns, max_bytes=size, max_entries=files)
        async with asyncio.timeout(_TRANSFER_S):
            with await asyncio.to_thread(archive.open, "wb") as stream:
                async with aclosing(aiter(download)) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(stream.write, piece)
        if download.summary is None or download.summary.truncated:
            raise GuestRequestFailed(
                "too_large",
                f"the packages take more than {self.settings.layer_mib} MiB or {self.settings.layer_files} files; "
                "raise packages.layer_mib or packages.layer_files to allow it",
            )

    # -- verdicts ---------------------------------------------------------------------------------------------

    def _verdict(self, request: PackageRequest, outcome: ExecOutcome, proxy: FilteringProxy) -> tuple[str, str]:
        if outcome.reason == "timed_out":
            return "timed_out", f"{request.tool} did not end within {self.settings.timeout_s:g} s (packages.timeout_s)"
        if proxy.exhausted:
            limit = self.settings.download_mib
            return "too_large", f"the packages need more than {limit} MiB of traffic; raise packages.download_mib to allow it"
        text = outcome.stdout.decode("utf-8", "replace")
        refused = "; ".join(list(proxy.refused)[:3])
        message = failure_message(request.tool, text)
        if outcome.reason != "exited":
            message = f"{request.tool} was ended: {outcome.reason}"
        return "failed", f"{message} [{refused}]" if refused else message

    @staticmethod
    def _failed(
        request: PackageRequest, reason: str, begun: float, message: str, output: bytes = b"", downloaded: int = 0
    ) -> PackagesFailed:
        return PackagesFailed(
            PackagesResult(
                ok=False, reason=reason, tool=request.tool, wall_ms=(time.perf_counter() - begun) * 1000,
                output_data=output, downloaded_bytes=downloaded, message=message,
            )
        )  # fmt: skip


def _authorities() -> bytes | None:
    """Return the certificates of those whom the host trusts; None where it has no such file."""
    import ssl

    paths = ssl.get_default_verify_paths()
    for name in (paths.cafile, "/etc/ssl/certs/ca-certificates.crt"):
        if name is not None:
            with contextlib.suppress(OSError), Path(name).open("rb") as stream:
                data = stream.read(_AUTHORITIES_BYTES + 1)
                return data if len(data) <= _AUTHORITIES_BYTES else None
    return None

"""The build VM: installs packages, and is thrown away with all that their code did.

It boots the runtime's image, has no network device, and reaches the package index through the
filtering proxy alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.errors import GuestError, GuestRequestFailed, GuestTimeout, PackagesFailed, VmmError
from emberbox.guest import ExecLimits, ExecOutcome, ExecRequest, GuestClient
from emberbox.images.rootfs.layers import LayerBounds, LayerRefused, make_layer
from emberbox.model import MIB, PackagesResult, elapsed_ms
from emberbox.runtimes.package_tools.base import Installation
from emberbox.sandbox.machines.plan import MachinePlan, MachineSize
from emberbox.sandbox.packages.filtering_proxy import FilteringProxy
from emberbox.sandbox.packages.proxy_link import PROXY_ADDRESS, READY_S, proxied
from emberbox.sandbox.packages.proxy_rules import ProxyRules
from emberbox.sandbox.packages.requests import PackageRequest, tool_of

if TYPE_CHECKING:
    from emberbox.config import PackageSettings
    from emberbox.images import Image
    from emberbox.sandbox.machines.live import LiveMachine
    from emberbox.sandbox.machines.making import MachineMaker

TARGET = "/work/layer"
"""What is installed lies there in the VM, and becomes the layer."""
OUTPUT_BYTES = 65_536
"""How much is kept of what the tool said: its end."""
_WORK = "/work"
_TRANSFER_S = 300.0
_PIDS = 512
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
_AUTHORITIES = "/tmp/emberbox-authorities.pem"  # noqa: S108  in the guest
_AUTHORITIES_BYTES = 4 * MIB


class BuildVm:
    """A VM of one installation, which begins now.

    Args:
        settings: Bounds, and where it may go.
        request: What is wanted.
    """

    def __init__(self, settings: PackageSettings, request: PackageRequest) -> None:
        self._settings = settings
        self._request = request
        self._tool = tool_of(request.tool)
        self._begun = time.perf_counter()
        self._output = b""
        self._downloaded_bytes = 0

    async def install(self, maker: MachineMaker, image: Image, folder: Path) -> PackagesResult:
        """Install the packages into the file system `folder/layer.ext4`.

        Args:
            maker: Boots the VM.
            image: What it boots.
            folder: Scratch folder of the caller, who removes it.

        Raises:
            PackagesFailed: With the tool's own words; whatever the packages' code did to its VM is
            told likewise. VmmError, CapacityExhausted: The VM did not start. NoSpace,
            ImageBuildFailed: The host could not write the layer.
        """
        size = MachineSize(vcpus=1, memory_mib=self._settings.memory_mib)
        live = await maker.boot(MachinePlan(image=image, size=size, disk_mib=self._settings.disk_mib))
        archive = folder / "layer.tar"
        try:
            outcome, proxy = await self._use(live, archive)
        except (GuestError, VmmError) as error:
            raise self._failed("vm_died", f"the build VM ended: {error.message}") from error
        self._output = outcome.stdout[-OUTPUT_BYTES:]
        self._downloaded_bytes = proxy.downloaded_bytes
        if outcome.exit_code != 0:
            raise self._failed(*self._verdict(outcome, proxy))
        bounds = LayerBounds(
            folder=self._tool.place,
            size=self._settings.layer_mib * MIB,
            files=self._settings.layer_files,
        )
        try:
            await make_layer(archive, folder / "root", folder / "layer.ext4", bounds)
        except LayerRefused as error:
            raise self._failed("refused", error.message) from error
        return self._result("installed")

    # -- what becomes of it -----------------------------------------------------------------------

    def _verdict(self, outcome: ExecOutcome, proxy: FilteringProxy) -> tuple[str, str]:
        """Return the reason why the tool failed, and the message for people."""
        if outcome.reason == "timed_out":
            bound = f"{self._settings.timeout_s:g} s (packages.timeout_s)"
            return "timed_out", f"{self._tool.name} did not end within {bound}"
        if proxy.exhausted:
            needed = f"the packages need more than {self._settings.download_mib} MiB of traffic"
            return "too_large", f"{needed}; raise packages.download_mib to allow it"
        message = self._tool.failure_message(outcome.stdout.decode("utf-8", "replace"))
        if outcome.reason != "exited":
            message = f"{self._tool.name} was ended: {outcome.reason}"
        refused = "; ".join(list(proxy.refused)[:3])
        return "failed", f"{message} [{refused}]" if refused else message

    def _failed(self, reason: str, message: str) -> PackagesFailed:
        return PackagesFailed(self._result(reason, message))

    def _result(self, reason: str, message: str | None = None) -> PackagesResult:
        """Return what became of it: a failure where there is a message."""
        return PackagesResult(
            ok=message is None,
            reason=reason,
            tool=self._tool.name,
            wall_ms=elapsed_ms(self._begun),
            output_data=self._output,
            downloaded_bytes=self._downloaded_bytes,
            message=message,
        )

    # -- in the VM --------------------------------------------------------------------------------

    async def _use(self, live: LiveMachine, archive: Path) -> tuple[ExecOutcome, FilteringProxy]:
        try:
            outcome, proxy = await self._run(live.guest)
            if outcome.exit_code == 0:
                await self._take(live.guest, archive)
        finally:
            await live.undo.close()
        return outcome, proxy

    async def _run(self, guest: GuestClient) -> tuple[ExecOutcome, FilteringProxy]:
        folder = TARGET if self._tool.in_target else _WORK
        await guest.make_directory(TARGET)
        for name, data in self._request.files.items():
            await guest.write_file(f"{folder}/{name}", data)
        trusted = await _trust(guest)
        rules = ProxyRules(await self._settled(guest), self._tool)
        proxy = FilteringProxy(rules, self._settings.download_mib * MIB)
        installation = Installation(
            files=self._request.files.keys(),
            target=TARGET,
            index=rules.index,
            proxy=PROXY_ADDRESS,
            authorities=trusted,
        )
        try:
            async with proxied(guest, proxy.serve):
                return await self._install(guest, self._tool.command(installation), folder), proxy
        finally:
            proxy.report()

    async def _settled(self, guest: GuestClient) -> PackageSettings:
        """Return the settings with an index.

        It is theirs, else the tool's own, which the tool is asked for before anything else runs.
        """
        tool = self._tool
        if tool.index(self._settings):
            return self._settings
        limits = ExecLimits(wall_ms=int(READY_S * 1000))
        process = await guest.start(ExecRequest(argv=tool.own_index, limits=limits))
        told = await process.collect(keep_stdout=1024, keep_stderr=1024, timeout_s=None)
        address, *hosts = told.stdout.decode("ascii", "replace").split() or [""]
        if told.exit_code != 0 or not address:
            raise GuestRequestFailed(
                "internal", f"{tool.name} does not tell its index; set it in packages.{tool.setting}"
            )
        own = {tool.setting: address, "hosts": ",".join([*hosts, self._settings.hosts])}
        return replace(self._settings, **own)  # type: ignore[arg-type]

    async def _install(self, guest: GuestClient, command: tuple[str, ...], folder: str) -> ExecOutcome:
        keep, timeout_s = 16 * OUTPUT_BYTES, self._settings.timeout_s
        process = await guest.start(
            ExecRequest(
                # One stream for both, so that what the tool says stays in its order.
                argv=("sh", "-c", 'exec "$@" 2>&1', "sh", *command),
                env=dict.fromkeys(_PROXY_VARIABLES, PROXY_ADDRESS),
                cwd=folder,
                limits=ExecLimits(
                    wall_ms=int(timeout_s * 1000), pids=_PIDS, stdout_keep=keep, output_max=64 * MIB
                ),
            )
        )
        return await process.collect(keep_stdout=keep, keep_stderr=0, timeout_s=None)

    async def _take(self, guest: GuestClient, archive: Path) -> None:
        """Write what was installed to a file of the host, as a tar that nobody has looked into yet."""
        size, files = self._settings.layer_mib * MIB, self._settings.layer_files
        installed = guest.tar_out(TARGET, patterns=self._tool.taken, max_bytes=size, max_entries=files)
        try:
            with await asyncio.to_thread(archive.open, "wb") as stream:
                async with asyncio.timeout(_TRANSFER_S), aclosing(installed) as pieces:
                    async for piece in pieces:
                        await asyncio.to_thread(stream.write, piece)
        except TimeoutError:
            raise GuestTimeout(f"its files took longer than {_TRANSFER_S:g} s to read") from None
        except GuestRequestFailed as error:
            if error.reason != "too_large":
                raise
            raise GuestRequestFailed(
                "too_large",
                f"the packages take more than {self._settings.layer_mib} MiB or {files} files; "
                "raise packages.layer_mib or packages.layer_files to allow it",
            ) from error


async def _trust(guest: GuestClient) -> str | None:
    """Let the VM trust whom the host trusts: a company's own index has a certificate of its own.

    Returns the file in the VM; None where the host has none.
    """
    authorities = await asyncio.to_thread(_authorities)
    if authorities is None:
        return None
    await guest.write_file(_AUTHORITIES, authorities)
    return _AUTHORITIES


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

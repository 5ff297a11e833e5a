"""Settings: typed, grouped, read once at an entry point and passed down.

Later sources win: defaults, the settings file (`EMBERBOX_CONFIG`, else `emberbox/config.toml` in
the XDG configuration folder, or /etc/emberbox/config.toml for root), environment variables
`EMBERBOX_<GROUP>_<NAME>` (and `EMBERBOX_DATA`), flags.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints
from urllib.parse import urlsplit

from emberbox.bounds import MEMORY_MIB, RETRIES, TIMEOUT_S, UID_BASE, UID_COUNT, VCPUS, Range
from emberbox.errors import InvalidSettings
from emberbox.model import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping


_log = logging.getLogger(__name__)

_LAST_UID_BASE = 2**32 - 2 - UID_COUNT
_MOST_STANDBYS = 32
_BUILD_MIB = Range(256, MEMORY_MIB.most)
_HIGHEST_RATE = 2**20
_MOST_KEPT = 1000
SERVICE_POOL = 4
"""`pool.maximum` of a service, where nobody sets it."""
VMM_LOG_LEVELS = ("off", "error", "warning", "info", "debug", "trace")
"""What `vmm.log_level` may be, from the least to the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmmSettings:
    """Which VMM runs the machines, and what each machine may take.

    Args:
        driver: `auto`, `firecracker` or `qemu`. `auto` takes the best that works here; a name is
            never replaced by another.
        accelerator: `auto` probes by running code; `kvm` or `tcg` insists. Firecracker runs on `kvm` only.
        kvm_kind: The kind of this host's KVM. `auto` looks; `hardware` or `pvm` where it cannot be
            seen, as in some containers.
        boot_timeout_s: Bound of a cold boot, up to the agent's hello. Generous, since a loaded host
            is slow: a boot that hangs is found by the next two.
        boot_cpu_s: A boot that computes for so many seconds of processor time without a word of its
            guest hangs, and is ended. It takes 2 to 4 under emulation; a slow processor may need
            more.
        boot_idle_s: A boot that does nothing for so many seconds, while its host would let it,
            hangs, and is ended.
        clone_timeout_s: Bound of a restore, up to the agent's first answer.
        uid_base: As root, each machine runs as a uid and gid of its own, of the 100,000 from here on.
            No two machines of a host have the same, whatever engine and data folder they are of.
        firecracker: Firecracker's binary; empty for the installed one, else the one on PATH.
        jailer: Its jailer, of the same version; empty for the installed one, else the one on PATH.
        disk_mib_per_s: Bound of each drive of a machine, reading and writing together; 0 for none.
        disk_ops_per_s: Bound of each drive's requests; 0 for none.
        network_mib_per_s: Bound of a machine's network, in each direction; 0 for none. Only
            Firecracker keeps it.
        log_level: What the VMM logs, to be read by `emberbox machines log`: `off`, `error`,
            `warning`, `info`, `debug` or `trace`, which are Firecracker's own levels. QEMU has
            none: its messages are always kept; `info` adds what guests do wrong, `debug` and
            `trace` a part of its trace, which makes machines slower.
        kept_machines: Consoles and logs of machines that ended badly are kept of so many; 0 keeps none.
        kept_age_s: And for so long.

    Raises:
        InvalidSettings: A value that cannot be.
    """

    driver: str = "auto"
    accelerator: str = "auto"
    kvm_kind: str = "auto"
    boot_timeout_s: float = 300.0
    boot_cpu_s: float = 20.0
    boot_idle_s: float = 8.0
    clone_timeout_s: float = 60.0
    uid_base: int = UID_BASE
    firecracker: str = ""
    jailer: str = ""
    disk_mib_per_s: int = 0
    disk_ops_per_s: int = 0
    network_mib_per_s: int = 0
    log_level: str = "warning"
    kept_machines: int = 32
    kept_age_s: float = 7 * 86_400.0

    def __post_init__(self) -> None:
        if self.accelerator not in ("auto", "kvm", "tcg"):
            raise InvalidSettings(f"vmm.accelerator must be auto, kvm or tcg, not {self.accelerator!r}")
        if self.kvm_kind not in ("auto", "hardware", "pvm"):
            raise InvalidSettings(f"vmm.kvm_kind must be auto, hardware or pvm, not {self.kvm_kind!r}")
        if (self.driver, self.accelerator) == ("firecracker", "tcg"):
            raise InvalidSettings(
                "vmm.accelerator is tcg, but Firecracker runs on KVM only: set it to auto, or vmm.driver "
                "to auto or qemu"
            )
        if self.log_level not in VMM_LOG_LEVELS:
            raise InvalidSettings(
                f"vmm.log_level must be one of {', '.join(VMM_LOG_LEVELS)}, not {self.log_level!r}"
            )
        for name in ("boot_timeout_s", "boot_cpu_s", "boot_idle_s"):
            if not getattr(self, name) >= 1:
                raise InvalidSettings(f"vmm.{name} must be at least 1 second, not {getattr(self, name)}")
        if self.kept_machines > _MOST_KEPT:
            raise InvalidSettings(f"vmm.kept_machines must be 0 to {_MOST_KEPT}, not {self.kept_machines}")
        if not 1 <= self.uid_base <= _LAST_UID_BASE:
            raise InvalidSettings(
                f"vmm.uid_base must be 1 to {_LAST_UID_BASE}, not {self.uid_base}: uid 0 is root, "
                f"{UID_COUNT:,} are used"
            )
        for name in ("firecracker", "jailer"):
            if (path := getattr(self, name)) and not Path(path).is_absolute():
                raise InvalidSettings(
                    f"vmm.{name} must be the whole path of the binary, or empty, not {path!r}"
                )
        for name in ("disk_mib_per_s", "disk_ops_per_s", "network_mib_per_s"):
            if not 0 <= getattr(self, name) <= _HIGHEST_RATE:
                raise InvalidSettings(
                    f"vmm.{name} must be 1 to {_HIGHEST_RATE}, or 0 for no bound, not {getattr(self, name)}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """What images are made of.

    Args:
        kernel: Whole path of a kernel of your own, vmlinux or bzImage; `debian` for Debian's; empty
            for the one that `emberbox setup --kernel` took, else Debian's.
        modules: Whole path of the folder with that kernel's modules; empty for a kernel that needs none.

    Raises:
        InvalidSettings: A value that cannot be.
    """

    kernel: str = ""
    modules: str = ""

    def __post_init__(self) -> None:
        for name, allowed in (("kernel", ("", "debian")), ("modules", ("",))):
            value = getattr(self, name)
            if value not in allowed and not Path(value).is_absolute():
                words = " or debian" if "debian" in allowed else ""
                raise InvalidSettings(f"images.{name} must be a whole path{words}, or empty, not {value!r}")
        if self.modules and self.kernel in ("", "debian"):
            raise InvalidSettings("images.modules goes with images.kernel, which names no file")


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySettings:
    """How much of the host may be used.

    Args:
        machines: Live machines at once, at most 100; 0 leaves it to `memory_mib`.
        launches: Machines being cloned at the same moment; 0 means two for each processor. More
            only makes each slower.
        queue_timeout_s: How long a caller waits for its VM's turn before `CapacityExhausted`.
        memory_mib: Memory of all live machines together: their guests', and 64 MiB for each. A VM is
            let in only if all that live, and itself, may use all of theirs. 0 takes the host's
            without a tenth (512 MiB at least) that stays the host's, and without
            `templates.memory_mib`. More than the host has but for its tenth counts as that.
    """

    machines: int = 0
    launches: int = 0
    queue_timeout_s: float = 300.0
    memory_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSettings:
    """How much templates may take. What was not used for longest is given up first, never what is in use.

    Where room is short, what a team had made beyond half of it goes first.

    Args:
        disk_mib: Room on disk, which a template needs at its making and again when it is opened; 0
            for no bound.
        memory_mib: Memory of those that are open, of which clones are made; 0 takes a tenth of the
            host's. A template in use is open; one that is closed is opened again in a moment.
    """

    disk_mib: int = 8192
    memory_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How many ready sandboxes are kept, for each template that is used.

    Args:
        minimum: Kept ready even without demand. 0 keeps none until there is demand.
        maximum: Never more than this; 0 turns pools off. `emberbox serve` has 4 where nobody sets it.
        window_s: Demand of this long ago still counts.
        health_s: Interval of the health check of ready sandboxes.
        stale_s: A ready sandbox older than this is replaced.
        reclaim_s: A sandbox that has been ready for this long is asked to give its free memory back
            to the host; 0 never. Firecracker alone does that.
        standby: VMMs that are started ahead of time for each template in use, from its second clone
            on, and wait without a guest: a clone is then one load; 0 starts none. All together take
            a quarter of `capacity.machines` at most. Firecracker alone has them.
        standby_idle_s: A template that was not cloned for this long keeps none.
    """

    minimum: int = 0
    maximum: int = 0
    window_s: float = 60.0
    health_s: float = 20.0
    stale_s: float = 900.0
    reclaim_s: float = 30.0
    standby: int = 2
    standby_idle_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.standby <= _MOST_STANDBYS:
            raise InvalidSettings(
                f"pool.standby must be 1 to {_MOST_STANDBYS}, or 0 for none, not {self.standby}"
            )
        if not self.standby_idle_s >= 1:
            raise InvalidSettings(
                f"pool.standby_idle_s must be at least 1 second, not {self.standby_idle_s:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileSettings:
    """Compiled programs that are kept, so that the same source is compiled once.

    Args:
        cache_mib: Room for all of them; 0 keeps none. One team's programs get half of it at most.
        cache_age_s: A program that was not used for this long is removed; 0 keeps it as long as
            there is room.
    """

    cache_mib: int = 1024
    cache_age_s: float = 30 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSettings:
    """Packages that scripts bring along, installed by a build VM.

    Args:
        pip_index: Where pip finds packages: the only index that a build VM reaches, and with its
            own port; empty for the one that pip itself is made for, with its files' host. Without
            credentials, which the packages' own code would see.
        npm_registry: The same for npm.
        hosts: Further hosts that a build VM may reach on port 443, separated by commas: where the
            index keeps its files.
        allow_private: Whether those hosts may have private addresses, as a mirror within a company has.
            Link-local ones and clouds' metadata never.
        timeout_s: Wall-clock limit of one installation.
        memory_mib: Memory of a build VM.
        disk_mib: What an installation may write, in the build VM's memory.
        download_mib: Bytes that an installation may send and receive.
        layer_mib: Largest result that is kept, and the most that it may hold in files.
        layer_files: Most files in it.
        concurrency: Build VMs at once. Teams take turns at them.
        cache_mib: Room for layers and the templates that belong to them. What a running engine uses
            is never removed.
    """

    pip_index: str = ""
    npm_registry: str = ""
    hosts: str = ""
    allow_private: bool = False
    timeout_s: float = 300.0
    memory_mib: int = 2048
    disk_mib: int = 1536
    download_mib: int = 1024
    layer_mib: int = 1024
    layer_files: int = 100_000
    concurrency: int = 1
    cache_mib: int = 4096

    def __post_init__(self) -> None:
        for name in ("pip_index", "npm_registry"):
            parts = urlsplit(getattr(self, name))
            if not getattr(self, name):
                continue
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise InvalidSettings(
                    f"packages.{name} must be an http:// or https:// address, not {getattr(self, name)!r}"
                )
            if parts.username or parts.password:
                raise InvalidSettings(
                    f"packages.{name} must hold no credentials: the code of packages would see them"
                )
        for name in (
            "timeout_s",
            "memory_mib",
            "disk_mib",
            "download_mib",
            "layer_mib",
            "layer_files",
            "concurrency",
        ):
            if not getattr(self, name) >= 1:
                raise InvalidSettings(f"packages.{name} must be at least 1")
        if self.memory_mib not in _BUILD_MIB or self.disk_mib > self.memory_mib:
            raise InvalidSettings(
                f"packages.memory_mib must be {_BUILD_MIB}, and packages.disk_mib no more than that"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How the service is reached, and what it takes.

    Args:
        host: Address to listen on. Anything but loopback should stand behind TLS.
        port: TCP port; 0 lets the system choose.
        body_bytes: Largest JSON body.
        upload_bytes: Largest upload of a script or an archive, and of what an archive holds.
        upload_files: Most files in one script.
        body_bytes_per_s: Slowest rate at which a body may come, on the whole, beside 30 seconds of
            grace; 0 for no bound. A slower one holds a place that others need.
        wait_s: Longest wait that `?wait=` may ask for; longer ones are cut to it.
        followers: Streams of logs that are open at once, over all teams.
        cors_origins: Origins whose pages may call the API, separated by commas; none by default.
    """

    host: str = "127.0.0.1"
    port: int = 8470
    body_bytes: int = 8 * MIB
    upload_bytes: int = 128 * MIB
    upload_files: int = 10_000
    body_bytes_per_s: int = 16 * 1024
    wait_s: float = 300.0
    followers: int = 1000
    cors_origins: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """Where the service keeps its truth.

    Args:
        url: Database, `postgresql://USER@HOST/NAME` or `sqlite:///FILE`; empty for `service.db` in
            the data folder.
        connections: Most connections to PostgreSQL.
        synchronous: SQLite only. `normal` survives a kill of the service at any moment; `full` also
            a loss of power.
    """

    url: str = ""
    connections: int = 8
    synchronous: str = "normal"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSettings:
    """Where the keys come from that encrypt secrets in the database; one of these at most.

    Args:
        key_file: Whole path of a file with the keys, for the service's user alone; empty for
            `secrets.key` in the data folder, which is made at the first start.
        key_credential: Name of a systemd credential with the keys; empty for none.
        key_command: Command line that prints the keys, such as a vault's client; it is run without a
            shell, and may take 30 seconds. Empty for none.

    Raises:
        InvalidSettings: A value that cannot be.
    """

    key_file: str = ""
    key_credential: str = ""
    key_command: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.key_file, self.key_credential, self.key_command))) > 1:
            raise InvalidSettings(
                "secrets: key_file, key_credential and key_command exclude each other; keep one"
            )
        if self.key_file and not Path(self.key_file).is_absolute():
            raise InvalidSettings(f"secrets.key_file must be a whole path, or empty, not {self.key_file!r}")
        if "/" in self.key_credential or self.key_credential in (".", ".."):
            raise InvalidSettings("secrets.key_credential must be the name of a credential, not a path")
        try:
            shlex.split(self.key_command)
        except ValueError as error:
            raise InvalidSettings(f"secrets.key_command cannot be read: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSettings:
    """Where the service keeps its bytes.

    Args:
        url: `s3://BUCKET/PREFIX`, or empty for `blobs` in the data folder. Credentials and region
            come from the usual AWS_ environment variables.
        endpoint: Address of an S3-compatible server; empty for AWS's own.
    """

    url: str = ""
    endpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """How jobs are taken from the queue and run.

    Args:
        concurrency: Jobs that run at once; 0 means two for each processor.
        lease_s: How long a worker that says nothing keeps its jobs.
        heartbeat_s: Interval at which a worker renews them.
        losses: How often a job may be lost with its own VM before it ends as `lost`.
        interruptions: How often an attempt may be cut short by what is not its job's doing, such as a kill of
            the service or a full disk, before the job ends as `lost`. The pauses in between grow from 5 s to
            5 min, so the default lasts for about three hours of kills in a row.
        hold_s: How long what became of an attempt is kept in memory and tried again, in seconds, while the
            disk is full or the database or the blob store is away. Then the job is run again. An hour is time
            to free a disk.
        drain_s: How long running jobs may take to end when the service stops; then they are handed back.
    """

    concurrency: int = 0
    lease_s: float = 30.0
    heartbeat_s: float = 5.0
    losses: int = 3
    interruptions: int = 50
    hold_s: float = 3600.0
    drain_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """What one job may ask for: what every VM is bounded by (`emberbox.bounds`), or less.

    Args:
        timeout_s: Largest wall-clock limit.
        memory_mib: Most memory. What is asked for is rounded up to a size of VMs, and this with it.
        vcpus: Most virtual CPUs; rounded up as memory is.
        retries: Most retries.
        log_bytes: Output over both streams at which a job is killed; a job may ask for less.
        stdin_bytes: Largest standard input given with the request.
        artifact_bytes: Bytes of artifacts kept of one job.
        artifact_files: Artifacts kept of one job.
    """

    timeout_s: float = 3600.0
    memory_mib: int = 4096
    vcpus: int = 8
    retries: int = 10
    log_bytes: int = 16 * MIB
    stdin_bytes: int = 4 * MIB
    artifact_bytes: int = 64 * MIB
    artifact_files: int = 100

    def __post_init__(self) -> None:
        bounds = {"timeout_s": TIMEOUT_S, "memory_mib": MEMORY_MIB, "vcpus": VCPUS, "retries": RETRIES}
        for name, allowed in bounds.items():
            if getattr(self, name) not in allowed:
                raise InvalidSettings(f"jobs.{name} must be {allowed}, not {getattr(self, name):,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSettings:
    """What each team may use, all its keys together, unless it has a quota of its own. 0 means no bound.

    Args:
        requests_per_s: Rate at which requests are refilled.
        burst: Requests that may come at once.
        concurrent_jobs: Jobs running at once; more wait in the queue. With 0, a team takes
            `worker_share` of the places while there are other teams.
        worker_share: Part of all workers' places that the jobs of one team may take while there are
            other teams, from 0 to 1; at least one place. Half by default: what runs long cannot
            be taken back, and so two teams never wait for each other's programs to end.
        queued_jobs: Jobs waiting at once; more are refused.
        queued_bytes: Bytes of what the waiting jobs are made of; more are refused.
        priority: Highest priority that also counts against other teams' jobs. Above it, and at 0
            always, a priority orders the team's own jobs alone.
        storage_bytes: Bytes of scripts, code, files, input, logs and artifacts together.
        cpu_s_day: CPU seconds in a day (UTC).
        followers: Streams of logs that are open at once.
        waits: Requests that wait for a job's end at once; more are answered without waiting.
        open_bodies: Requests at once whose bodies have not come completely.
        body_bytes: Bytes of requests' bodies that lie in memory at once: eight of the largest by default.
    """

    requests_per_s: float = 100.0
    burst: int = 500
    concurrent_jobs: int = 0
    worker_share: float = 0.5
    queued_jobs: int = 10_000
    queued_bytes: int = 1024 * MIB
    priority: int = 0
    storage_bytes: int = 10 * 1024 * MIB
    cpu_s_day: float = 0.0
    followers: int = 250
    waits: int = 500
    open_bodies: int = 64
    body_bytes: int = 64 * MIB

    def __post_init__(self) -> None:
        if not 0 < self.worker_share <= 1:
            raise InvalidSettings(
                f"quota.worker_share must be above 0 and at most 1, not {self.worker_share:g}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CeilingSettings:
    """What all teams together may use, beside each team's quota. 0 means no bound.

    Open streams and bytes on disk have their ceilings in `server.followers` and `retention.free_mib`.

    Args:
        requests_per_s: Rate at which requests are refilled.
        burst: Requests that may come at once.
        queued_jobs: Jobs waiting at once; more are refused.
        queued_bytes: Bytes of what the waiting jobs are made of; more are refused.
        waits: Requests that wait for a job's end at once; more are answered without waiting.
        open_bodies: Requests at once whose bodies have not come completely.
        body_bytes: Bytes of requests' bodies that lie in memory at once. What a process takes is
            up to four times as much while they are read.
    """

    requests_per_s: float = 500.0
    burst: int = 2500
    queued_jobs: int = 100_000
    queued_bytes: int = 8 * 1024 * MIB
    waits: int = 2000
    open_bodies: int = 512
    body_bytes: int = 256 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """How news is delivered.

    Args:
        allow_private: Whether loopback, link-local and private addresses may be called, and this host's own.
        own_addresses: Addresses and networks, separated by commas, that lead to this host though none of its
            interfaces has them, as behind NAT or a load balancer. They are not called either.
        attempts: Tries until a delivery is dead.
        timeout_s: Bound of one try.
        retry_s: Pause after the first failure; it doubles with each one, with jitter.
        retry_max_s: Longest pause.
        concurrency: Deliveries under way at once.
    """

    allow_private: bool = False
    own_addresses: str = ""
    attempts: int = 8
    timeout_s: float = 10.0
    retry_s: float = 5.0
    retry_max_s: float = 3600.0
    concurrency: int = 8

    def __post_init__(self) -> None:
        if self.own_addresses:
            # Commands that run one VM need nothing of this, and their start is counted in milliseconds.
            from emberbox.net.addresses import networks_of

            try:
                networks_of(self.own_addresses)
            except ValueError as error:
                raise InvalidSettings(
                    f"webhooks.own_addresses must be addresses or networks, separated by commas: {error}"
                ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionSettings:
    """How long things are kept. 0 keeps them until they are deleted.

    Args:
        jobs_s: Jobs that ended, with their results.
        logs_s: Logs of jobs that ended.
        artifacts_s: Artifacts.
        scripts_s: Scripts, after their upload.
        deliveries_s: Webhook deliveries that ended.
        idempotency_s: How long an Idempotency-Key is remembered.
        sweep_s: Interval of the sweeper.
        free_mib: New work is refused when the data folder's disk has less free than this.
    """

    jobs_s: float = 30 * 86_400.0
    logs_s: float = 30 * 86_400.0
    artifacts_s: float = 7 * 86_400.0
    scripts_s: float = 0.0
    deliveries_s: float = 7 * 86_400.0
    idempotency_s: float = 86_400.0
    sweep_s: float = 60.0
    free_mib: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of the engine and the service.

    Args:
        data: Images, templates and what lives at run time; see `default_data_folder`.
        runtimes: Folders with runtimes of your own, besides the built-in ones; later ones win.
        vmm: See `VmmSettings`.
        images: See `ImageSettings`.
        capacity: See `CapacitySettings`.
        templates: See `TemplateSettings`.
        pool: See `PoolSettings`.
        compile: See `CompileSettings`.
        packages: See `PackageSettings`.
        server: See `ServerSettings`.
        store: See `StoreSettings`.
        secrets: See `SecretSettings`.
        blobs: See `BlobSettings`.
        worker: See `WorkerSettings`.
        jobs: See `JobSettings`.
        quota: See `QuotaSettings`.
        ceiling: See `CeilingSettings`.
        webhooks: See `WebhookSettings`.
        retention: See `RetentionSettings`.
    """

    data: Path = field(default_factory=lambda: default_data_folder(os.environ))
    runtimes: tuple[Path, ...] = ()
    vmm: VmmSettings = field(default_factory=VmmSettings)
    images: ImageSettings = field(default_factory=ImageSettings)
    capacity: CapacitySettings = field(default_factory=CapacitySettings)
    templates: TemplateSettings = field(default_factory=TemplateSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    compile: CompileSettings = field(default_factory=CompileSettings)
    packages: PackageSettings = field(default_factory=PackageSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    store: StoreSettings = field(default_factory=StoreSettings)
    secrets: SecretSettings = field(default_factory=SecretSettings)
    blobs: BlobSettings = field(default_factory=BlobSettings)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    jobs: JobSettings = field(default_factory=JobSettings)
    quota: QuotaSettings = field(default_factory=QuotaSettings)
    ceiling: CeilingSettings = field(default_factory=CeilingSettings)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)


def default_data_folder(environment: Mapping[str, str]) -> Path:
    """Return where data lives: `EMBERBOX_DATA`, else /var/lib/emberbox for root, else the XDG data home."""
    if given := environment.get("EMBERBOX_DATA"):
        return Path(given).absolute()
    if _is_root():
        return Path("/var/lib/emberbox")
    home = environment.get("XDG_DATA_HOME") or f"{_home(environment)}/.local/share"
    return Path(home) / "emberbox"


def default_settings_file(environment: Mapping[str, str]) -> Path:
    """Return where the settings file is looked for."""
    if given := environment.get("EMBERBOX_CONFIG"):
        return Path(given)
    if _is_root():
        return Path("/etc/emberbox/config.toml")
    home = environment.get("XDG_CONFIG_HOME") or f"{_home(environment)}/.config"
    return Path(home) / "emberbox/config.toml"


def _is_root() -> bool:
    # Windows, from which servers are talked to, has no such users.
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _home(environment: Mapping[str, str]) -> str | Path:
    """Return the user's home folder; never one that others may write to: settings are read from it."""
    return environment.get("HOME") or Path.home()


def load_settings(
    environment: Mapping[str, str] | None = None, *, service: bool = False, **flags: Any
) -> Settings:
    """Read the settings from all sources.

    Args:
        environment: Variables to read; None means the process's own.
        service: Whether they are a service's, which keeps `SERVICE_POOL` sandboxes ready where
            nobody says how many.
        flags: Values of the top group (`data`, `runtimes`) that win over all; None values are passed over.

    Raises:
        InvalidSettings: A source has a mistake; the message names it and what is allowed.
    """
    variables = os.environ if environment is None else environment
    values = _from_file(default_settings_file(variables), required="EMBERBOX_CONFIG" in variables)
    values.setdefault("data", str(default_data_folder(variables)))
    for name, value in variables.items():
        _apply_variable(values, name, value)
    values.update({name: value for name, value in flags.items() if value is not None})
    ready = _take_old_ready(values)
    if service and isinstance(pool := values.setdefault("pool", {}), dict):
        pool.setdefault("maximum", SERVICE_POOL if ready is None else ready)
    settings: Settings = _build(Settings, values, "")
    return settings


def _take_old_ready(values: dict[str, Any]) -> Any:
    """Take a service's old `worker.ready` out of the values; None where it is not set.

    Its place is `pool.maximum`. Raises `InvalidSettings` as for any setting.
    """
    worker = values.get("worker")
    if not isinstance(worker, dict) or "ready" not in worker:
        return None
    _log.warning(
        "worker.ready is an old name: set pool.maximum (EMBERBOX_POOL_MAXIMUM) instead",
        extra={"action": "settings.old_name"},
    )
    return _convert(int, worker.pop("ready"), "worker.ready")


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if required:
            raise InvalidSettings(f"EMBERBOX_CONFIG names {path}, which does not exist") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"{path}: {error}") from error


_GROUPS: dict[str, type[Any]] = {
    "vmm": VmmSettings,
    "images": ImageSettings,
    "capacity": CapacitySettings,
    "templates": TemplateSettings,
    "pool": PoolSettings,
    "compile": CompileSettings,
    "packages": PackageSettings,
    "server": ServerSettings,
    "store": StoreSettings,
    "secrets": SecretSettings,
    "blobs": BlobSettings,
    "worker": WorkerSettings,
    "jobs": JobSettings,
    "quota": QuotaSettings,
    "ceiling": CeilingSettings,
    "webhooks": WebhookSettings,
    "retention": RetentionSettings,
}


_OLD_NAMES = {"worker": {"ready"}}
"""Names of settings that are still read; see `_take_old_ready`."""


def _apply_variable(values: dict[str, Any], name: str, value: str) -> None:
    if name == "EMBERBOX_DATA":
        values["data"] = value
    elif name == "EMBERBOX_RUNTIMES":
        values["runtimes"] = [part for part in value.split(":") if part]
    for group, settings in _GROUPS.items():
        prefix = f"EMBERBOX_{group.upper()}_"
        if name.startswith(prefix):
            key = name.removeprefix(prefix).lower()
            if key not in {f.name for f in dataclasses.fields(settings)} | _OLD_NAMES.get(group, set()):
                raise InvalidSettings(f"{name} is no setting; {prefix}… takes {_names(settings)}")
            values.setdefault(group, {})[key] = value


def _build(kind: type[Any], values: Any, where: str) -> Any:
    if not isinstance(values, dict):
        raise InvalidSettings(f"{where or 'settings'}: must be a table")
    hints = get_type_hints(kind)
    arguments = {}
    for name, value in values.items():
        path = f"{where}.{name}" if where else name
        if name not in hints:
            raise InvalidSettings(f"{path} is no setting; here are {_names(kind)}")
        arguments[name] = _convert(hints[name], value, path)
    return kind(**arguments)


def _convert(hint: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path)  # type: ignore[arg-type]
    try:
        if hint is Path:
            return Path(value).absolute()
        if hint is str and isinstance(value, str):
            return value
        if hint is bool:
            return value if isinstance(value, bool) else _WORDS[value.lower()]
        if hint in (int, float) and not isinstance(value, bool):
            return _not_negative(hint(value))
        if isinstance(value, list | tuple):
            return tuple(Path(part).absolute() for part in value)
    except (TypeError, ValueError, KeyError, AttributeError):
        pass
    expected = _EXPECTED.get(hint, "a list of paths")
    raise InvalidSettings(f"{path} must be {expected}, not {value!r}")


_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_EXPECTED = {
    int: "a whole number from 0",
    float: "a number from 0",
    str: "text",
    bool: "true or false",
    Path: "a path",
}


def _not_negative(value: float) -> float:
    if not value >= 0:
        raise ValueError
    return value


def _names(kind: type[Any]) -> str:
    return ", ".join(f.name for f in dataclasses.fields(kind))

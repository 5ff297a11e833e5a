"""Every error that Emberbox raises on purpose.

::

    EmberboxError
    ├── InvalidInput            the caller's mistake
    │   ├── InvalidManifest     a runtime's manifest: file, field, what is allowed
    │   ├── InvalidSettings     the settings file or an EMBERBOX_ variable
    │   ├── InvalidPath         a path that leads out of its folder, or cannot be one
    │   ├── UnknownRuntime      no runtime of that name, alias or file extension
    │   ├── InvalidArchive      an upload that cannot be opened, or not safely
    │   └── PayloadTooLarge     a body, file or archive above its bound
    ├── RequirementMissing      the host lacks something; the message holds the command that mends it
    ├── NoSpace                 the data folder's disk is full
    ├── ImageError
    │   ├── ImageBuildFailed
    │   ├── ImageImportFailed   an image of the user's own that cannot be had, or cannot be used here
    │   └── ImageCorrupt        a stored image or template is not what was stored
    ├── VmmError
    │   ├── VmmStartFailed
    │   ├── BootFailed          a VM runs, or ran, and its guest's agent never spoke
    │   ├── VmmDied             the process behind a VM ended by itself
    │   ├── VmmTimeout
    │   ├── VmmRefused          the VMM answered a request with an error
    │   ├── VmmNotReady         the guest has not come far enough for it; nothing was done
    │   └── SnapshotFailed
    ├── GuestError
    │   ├── GuestViolation      the guest broke the protocol; its sandbox is ended
    │   ├── GuestVersionMismatch
    │   ├── GuestTimeout        the agent did not answer in time; its sandbox is ended
    │   ├── GuestGone           the stream to the guest ended
    │   └── GuestRequestFailed  the agent answered with an error; `reason` is the protocol's code
    ├── CompileFailed           a program could not be compiled, so there is none to start
    ├── PackagesFailed          the packages that a script brings along could not be installed
    ├── SandboxClosed           the sandbox was used after its end
    ├── EngineClosed            the engine was used after its end
    ├── DataFolderBusy          another process holds what cannot be shared
    ├── CapacityExhausted       all slots are in use, and waiting was bounded; or a ceiling is reached
    ├── NotAuthenticated        no key, or one that is unknown, expired or revoked
    ├── NotAllowed              the key lacks the scope, or it is another team's
    │   └── KeySuspended        the key is good, but may do nothing for now
    ├── NotFound                no such thing, or not of this team
    ├── Conflict                what is there does not allow it
    │   └── IdempotencyMismatch the same Idempotency-Key with another request
    ├── RateLimited             too many requests; `retry_after_s` says when to come back
    ├── QuotaExceeded           the share of the key or its team is used up; `retry_after_s` as above
    ├── ServiceStopping         the service takes no new work, since it ends
    ├── NotReady                the service is starting, or a part of it is not well
    ├── StoreError              the database failed
    │   └── SchemaMismatch      the database is of a later release
    ├── BlobError               the blob store failed
    ├── SecretsUnavailable      a secret in the database cannot be sealed or read: its key is not there
    └── ServerUnreachable       the client got no answer from the server

Each class has a stable `code` for programs, and `retryable`: whether the same call may succeed
later without a change by the caller.
"""

from __future__ import annotations

from typing import Any, ClassVar


class EmberboxError(Exception):
    """Root of all errors that Emberbox raises on purpose.

    Args:
        message: For people. Says what is wrong and what to do next. Never holds a secret.
        detail: For logs: output of a tool, a path, an address. None when there is none.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, detail: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class InvalidInput(EmberboxError):
    """The caller passed something that cannot be used; nothing was done."""

    code = "invalid_input"


class InvalidManifest(InvalidInput):
    """A runtime's manifest has a mistake.

    Args:
        file: The manifest's path.
        field: The field with the mistake, dotted (`run.argv`).
        problem: What is wrong and what is allowed.
    """

    code = "invalid_manifest"

    def __init__(self, file: str, field: str, problem: str) -> None:
        super().__init__(f"{file}: {field}: {problem}")
        self.file = file
        self.field = field
        self.problem = problem


class InvalidSettings(InvalidInput):
    """The settings file or an EMBERBOX_ variable has a mistake."""

    code = "invalid_settings"


class InvalidPath(InvalidInput):
    """A path leads out of its folder, or cannot be a path at all."""

    code = "invalid_path"


class UnknownRuntime(InvalidInput):
    """No runtime has that name, alias or file extension."""

    code = "unknown_runtime"


class RequirementMissing(EmberboxError):
    """The host lacks a program, a package or a right.

    Args:
        message: What is missing and what follows.
        mend: The one command that mends it, or None where there is none.
    """

    code = "requirement_missing"

    def __init__(self, message: str, *, mend: str | None = None, detail: str | None = None) -> None:
        super().__init__(message if mend is None else f"{message}\n  To mend it: {mend}", detail=detail)
        self.mend = mend


class NoSpace(EmberboxError):
    """The disk under the data folder is full; nothing half-written is left."""

    code = "no_space"
    retryable = True
    retry_after_s = 60.0
    """When to try again, in seconds: people must make room, or retention does."""


class ImageError(EmberboxError):
    """Something is wrong with an image or a template."""

    code = "image_error"


class ImageBuildFailed(ImageError):
    """A build step failed; the store is as it was before. `detail` holds the tool's last output."""

    code = "image_build_failed"


class ImageImportFailed(ImageError):
    """An image of the user's own cannot be had, or cannot be used here; nothing of it is left."""

    code = "image_import_failed"


class ImageCorrupt(ImageError):
    """A stored image or template differs from what was stored."""

    code = "image_corrupt"


class VmmError(EmberboxError):
    """The virtual machine monitor failed."""

    code = "vmm_error"
    retryable = True


class VmmStartFailed(VmmError):
    """The VMM process did not come up; it is gone. `detail` holds what it printed."""

    code = "vmm_start_failed"


class BootFailed(VmmError):
    """A VM was started, and its guest hung, panicked or ended before its agent spoke.

    `detail` holds its console's last lines.
    """

    code = "boot_failed"
    timer_lost = False
    """Whether it hung since its kernel could not measure its timer (`vmm.base.TimedMachine`): a
    further boot most likely can."""


class VmmDied(VmmError):
    """The VMM process ended by itself."""

    code = "vmm_died"


class VmmTimeout(VmmError):
    """The VMM did not answer within its bound."""

    code = "vmm_timeout"


class VmmRefused(VmmError):
    """The VMM answered a request with an error; what it was asked for was not done."""

    code = "vmm_refused"


class VmmNotReady(VmmError):
    """The guest does not yet drive a device that this needs; it may once it has booted.

    Nothing was done.
    """

    code = "vmm_not_ready"


class SnapshotFailed(VmmError):
    """A snapshot could not be saved or loaded."""

    code = "snapshot_failed"


class GuestError(EmberboxError):
    """Something is wrong between the host and a guest's agent."""

    code = "guest_error"


class GuestViolation(GuestError):
    """The guest sent what the protocol does not allow; its sandbox is ended."""

    code = "guest_violation"


class GuestVersionMismatch(GuestError):
    """The agent speaks another version of the protocol; rebuild the image."""

    code = "guest_version_mismatch"


class GuestTimeout(GuestError):
    """The agent did not answer within its bound; its sandbox is ended."""

    code = "guest_timeout"
    retryable = True


class GuestGone(GuestError):
    """The stream to the guest ended."""

    code = "guest_gone"
    retryable = True


class GuestRequestFailed(GuestError):
    """The agent answered a request with an error; the sandbox stays usable.

    Args:
        reason: The protocol's error code, such as `not_found` or `no_space`.
        message: For people.
    """

    code = "guest_request_failed"

    def __init__(self, reason: str, message: str, *, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.reason = reason


class CompileFailed(EmberboxError):
    """There is no program to start: the compiler refused the source, or hit one of its limits.

    The sandbox stays usable.

    Args:
        result: The `emberbox.model.CompileResult`: why, and what the compiler said.
        metrics: The `emberbox.model.RunMetrics` up to this point.
    """

    code = "compile_failed"

    def __init__(self, result: Any, metrics: Any = None) -> None:
        super().__init__(result.message or "compile failed", detail=result.stderr or None)
        self.result = result
        self.metrics = metrics


class PackagesFailed(EmberboxError):
    """The packages that a script asks for could not be installed. Nothing is left.

    Args:
        result: The `emberbox.model.PackagesResult`: why, and what the tool said.
    """

    code = "packages_failed"

    def __init__(self, result: Any) -> None:
        super().__init__(
            result.message or "the packages could not be installed", detail=result.output or None
        )
        self.result = result


class SandboxClosed(EmberboxError):
    """The sandbox was used after its end."""

    code = "sandbox_closed"


class EngineClosed(EmberboxError):
    """The engine was used before its start or after its end."""

    code = "engine_closed"


class DataFolderBusy(EmberboxError):
    """Another process holds something that cannot be shared, such as the data folder."""

    code = "data_folder_busy"
    retryable = True


class CapacityExhausted(EmberboxError):
    """All slots are in use, and the wait for one has reached its bound, or a ceiling is reached."""

    code = "capacity_exhausted"
    retryable = True


class InvalidArchive(InvalidInput):
    """An upload cannot be opened, or not safely; nothing of it was kept."""

    code = "invalid_archive"


class PayloadTooLarge(InvalidInput):
    """A body, a file or an archive's content is above its bound; nothing of it was kept."""

    code = "payload_too_large"


class NotAuthenticated(EmberboxError):
    """The request carries no key, or one that is unknown, expired or revoked."""

    code = "not_authenticated"


class NotAllowed(EmberboxError):
    """The key lacks the scope that the call needs, or what it is about belongs to another team."""

    code = "not_allowed"


class KeySuspended(NotAllowed):
    """The key is suspended: it may do nothing until it is resumed."""

    code = "key_suspended"


class NotFound(EmberboxError):
    """There is no such thing, or it belongs to another team: the two are not told apart."""

    code = "not_found"


class Conflict(EmberboxError):
    """The state of what is there does not allow it; nothing was changed."""

    code = "conflict"


class IdempotencyMismatch(Conflict):
    """The Idempotency-Key was used before, with another request."""

    code = "idempotency_mismatch"


class RateLimited(EmberboxError):
    """The key made too many requests.

    Args:
        message: For people.
        retry_after_s: Seconds after which one more request will be taken.
    """

    code = "rate_limited"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.retry_after_s = retry_after_s


class QuotaExceeded(EmberboxError):
    """The team's share of jobs, storage, CPU time or room is used up; nothing was accepted or stored.

    Args:
        message: For people.
        retry_after_s: Seconds after which it may be worth another try.
    """

    code = "quota_exceeded"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0, detail: str | None = None) -> None:
        super().__init__(message, detail=detail)
        self.retry_after_s = retry_after_s


class ServiceStopping(EmberboxError):
    """The service takes no new work, since it is about to end."""

    code = "service_stopping"
    retryable = True


class NotReady(EmberboxError):
    """The service is still starting, or a part of it is not well; the message says which."""

    code = "not_ready"
    retryable = True


class StoreError(EmberboxError):
    """The database failed or could not be reached; nothing of the write was kept."""

    code = "store_error"
    retryable = True


class SchemaMismatch(StoreError):
    """The database was written by a later release than this one."""

    code = "schema_mismatch"
    retryable = False


class BlobError(EmberboxError):
    """The blob store failed or could not be reached."""

    code = "blob_error"
    retryable = True


class SecretsUnavailable(EmberboxError):
    """A secret cannot be sealed, or cannot be read: its key is not there, or it was altered."""

    code = "secrets_unavailable"


class ServerUnreachable(EmberboxError):
    """The client got no answer from the server; whether the request was carried out is not known."""

    code = "server_unreachable"
    retryable = True

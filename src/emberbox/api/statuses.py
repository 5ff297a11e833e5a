"""The HTTP status with which each error is answered."""

from __future__ import annotations

_CODES = {
    401: ("not_authenticated",),
    403: ("not_allowed",),
    404: ("not_found", "unknown_runtime"),
    409: ("conflict", "idempotency_mismatch", "sandbox_closed"),
    413: ("payload_too_large",),
    422: (
        *("invalid_input", "invalid_archive", "invalid_manifest", "invalid_path", "invalid_settings"),
        *("compile_failed", "guest_request_failed", "image_import_failed", "packages_failed"),
    ),
    429: ("quota_exceeded", "rate_limited"),
    500: ("internal", "image_build_failed", "image_corrupt", "image_error"),
    502: ("guest_error", "guest_gone", "guest_version_mismatch", "guest_violation"),
    503: (
        *("capacity_exhausted", "data_folder_busy", "engine_closed", "not_ready", "requirement_missing"),
        *("service_stopping", "blob_error", "schema_mismatch", "server_unreachable", "store_error"),
        *("boot_failed", "snapshot_failed", "vmm_died", "vmm_error", "vmm_not_ready", "vmm_refused"),
        *("vmm_start_failed", "vmm_timeout", "secrets_unavailable"),
    ),
    504: ("guest_timeout",),
    507: ("no_space",),
}

STATUSES = {code: status for status, codes in _CODES.items() for code in codes}
"""By the error's code."""

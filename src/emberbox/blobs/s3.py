"""Blobs as objects of an S3 bucket, of AWS or of a server that speaks its protocol."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import S3Store

from emberbox.blobs.objects import ObjectBlobs
from emberbox.errors import InvalidSettings
from emberbox.net.addresses import is_loopback

if TYPE_CHECKING:
    from obstore.store import S3Config

_log = logging.getLogger(__name__)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")


class S3Blobs(ObjectBlobs):
    """Blobs below a prefix of a bucket, which must exist.

    Credentials and region come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    `AWS_REGION`, …) or from the instance. A bucket should have a lifecycle rule that aborts
    incomplete multipart uploads: those of a service that was killed stay otherwise.

    Args:
        url: `s3://BUCKET` or `s3://BUCKET/PREFIX`.
        endpoint: Address of the server; empty for AWS's own. Plain HTTP only where it starts with `http://`.
        retries: How often a request is repeated that failed for reasons that may pass.

    Raises:
        InvalidSettings: The URL or the endpoint has a mistake.
    """

    def __init__(self, url: str, *, endpoint: str = "", retries: int = 5) -> None:
        bucket, prefix = _place(url)
        config: S3Config = {}
        if endpoint:
            config = {"endpoint": _endpoint(endpoint), "virtual_hosted_style_request": False}
        store = S3Store(
            bucket,
            prefix=prefix,
            config=config,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "connect_timeout": "5s",
                "timeout": "120s",
            },
            retry_config={"max_retries": retries, "retry_timeout": timedelta(seconds=60)},
        )
        super().__init__(store)


def _place(url: str) -> tuple[str, str | None]:
    parts = urlsplit(url)
    prefix = parts.path.strip("/")
    good = parts.scheme == "s3" and _BUCKET.fullmatch(parts.netloc) and not (parts.query or parts.fragment)
    if not good or (prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/")))):
        rule = "BUCKET is 3 to 63 small letters, digits, '-' and '.'"
        raise InvalidSettings(
            f"blobs.url must be s3://BUCKET or s3://BUCKET/PREFIX, where {rule}, not {url!r}"
        )
    return parts.netloc, prefix or None


def _endpoint(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise InvalidSettings(
            "blobs.endpoint must be http://HOST:PORT or https://HOST:PORT, without a user's name"
        )
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        _log.warning(
            "blobs cross the network unencrypted to %s", parts.hostname, extra={"action": "blobs.unencrypted"}
        )
    return endpoint.rstrip("/")

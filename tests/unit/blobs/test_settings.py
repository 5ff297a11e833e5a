from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from emberbox.blobs import open_blobs
from emberbox.blobs.s3 import S3Blobs
from emberbox.config import BlobSettings
from emberbox.errors import BlobError, InvalidSettings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "url",
    [
        "file:///x",
        "s3://",
        "s3://Bucket",
        "s3://ab",
        "s3://bucket/../x",
        "s3://bucket/a b",
        "s3://bucket?x=1",
        "bucket",
    ],
)
def test_a_wrong_url_says_what_is_right(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="s3://BUCKET"):
        open_blobs(BlobSettings(url=url), tmp_path)


@pytest.mark.parametrize("endpoint", ["localhost:9000", "ftp://host", "http://", "http://user:secret@host"])
def test_a_wrong_endpoint_says_what_is_right_and_shows_no_secret(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="http://HOST") as caught:
        open_blobs(BlobSettings(url="s3://bucket", endpoint=endpoint), tmp_path)
    assert "secret" not in str(caught.value)


async def test_plain_http_beyond_this_host_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await S3Blobs("s3://bucket", endpoint="http://127.0.0.1:1").close()
        await S3Blobs("s3://bucket", endpoint="http://localhost:1").close()
        await S3Blobs("s3://bucket", endpoint="https://storage.example").close()
        assert not caplog.records
        await S3Blobs("s3://bucket", endpoint="http://storage.example").close()
    assert "unencrypted" in caplog.text


async def test_a_server_that_is_not_there_is_an_error_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "ACCESS_KEY_ID": "a",
        "SECRET_ACCESS_KEY": "hidden-secret",
        "REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    store = S3Blobs("s3://bucket", endpoint="http://127.0.0.1:9", retries=0)
    with pytest.raises(BlobError, match="cannot be reached") as caught:
        await store.get("logs/job_1/1")
    assert caught.value.retryable
    assert "hidden-secret" not in f"{caught.value.message} {caught.value.detail}"
    await store.close()

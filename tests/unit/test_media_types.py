"""What a file's name and beginning speak of."""

from __future__ import annotations

import pytest

from emberbox.media_types import media_type
from emberbox.model import OutputFile


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("figure-1.png", None, "image/png"),
        ("deep/er/PLOT.SVG", b"<svg/>", "image/svg+xml"),
        ("table.csv", b"", "text/csv"),
        ("a.tar.gz", None, "application/gzip"),
        ("page.html", b"\x89PNG\r\n\x1a\n", "text/html"),
        ("no-extension", b"\x89PNG\r\n\x1a\n rest", "image/png"),
        ("no-extension", b"plain \xc3\xa4", "text/plain"),
        ("no-extension", b"x" * 4095 + "ß".encode(), "text/plain"),
        ("no-extension", b"bad \xff\xfe here", "application/octet-stream"),
        ("no-extension", b"nul \0", "application/octet-stream"),
        ("folder.png/file", None, "application/octet-stream"),
        (".png", None, "image/png"),
        ("x.unknown", b"", "application/octet-stream"),
    ],
)
def test_the_media_type(name: str, data: bytes | None, expected: str) -> None:
    assert media_type(name, data) == expected


def test_a_file_tells_of_itself_without_its_content() -> None:
    file = OutputFile("a/b.json", b'{"x": 1}\xff')
    assert file.to_dict() == {"name": "a/b.json", "size": 9, "media_type": "application/json"}
    assert file.text == '{"x": 1}\ufffd'
    assert "x" not in repr(file).replace("OutputFile", "")

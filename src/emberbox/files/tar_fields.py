"""Numbers, texts and attributes in the headers of tar archives, and what is wrong with them."""

from __future__ import annotations

import re

SPARSE = "GNU.sparse."
MAX_BYTES = 2**60
_NUMBER = re.compile(r"-?[0-9]{1,20}")
_TIME = re.compile(r"-?[0-9]{1,20}(\.[0-9]{0,40})?")

Parts = tuple[tuple[int, int], ...]


class BadTar(Exception):
    """An archive that is damaged, ends early or breaks the rules. The message tells it, with its subject."""


class NoTar(BadTar):
    """What does not even begin as an archive does."""


def attributes_of(data: bytes) -> dict[str, str]:
    """Return the attributes of a pax header: `LENGTH NAME=VALUE` a line each, the length that of it all."""
    found: dict[str, str] = {}
    pairs: list[str] = []
    start = 0
    while start < len(data):
        space = data.find(b" ", start, start + 8)
        length = int(data[start:space]) if space > start and data[start:space].isdigit() else 0
        end = start + length
        name, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not start < space < end <= len(data) or data[end - 1 : end] != b"\n" or not equals:
            raise BadTar("an entry of the archive has damaged attributes")
        if name in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pairs.append(text_of(value))  # the same two names again and again
        else:
            found[text_of(name)] = text_of(value)
        start = end
    return found | ({f"{SPARSE}map": ",".join(pairs)} if pairs else {})


def parts_of(numbers: list[int], size: int, stored: int) -> Parts:
    """Return a sparse file's parts from offsets and lengths in turn, which must lie within its two sizes."""
    parts = [pair for pair in zip(numbers[::2], numbers[1::2], strict=False) if pair[1]]
    end = 0
    for offset, length in parts:
        if length < 0 or offset < end:
            raise BadTar("a sparse file in the archive has parts that overlap")
        end = offset + length
    if not end <= size <= MAX_BYTES or sum(length for _, length in parts) > stored or len(numbers) % 2:
        raise BadTar("a sparse file in the archive has parts beyond its end")
    return tuple(parts)


def number_of(value: int | str) -> int:
    """Return a number of a header or an attribute. Raises `BadTar`."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise BadTar("an entry of the archive has a number that is none")
    return int(value)


def time_of(value: float | str) -> float:
    """Return a Unix time of a header or an attribute. Raises `BadTar`."""
    if isinstance(value, str) and not _TIME.fullmatch(value):
        raise BadTar("an entry of the archive has a time that is none")
    return float(value)


def field_of(data: bytes) -> int:
    """Return a number of a header: octal digits, or binary behind a first byte of 0x80."""
    if data[0] == 0x80:
        return int.from_bytes(data[1:], "big")
    digits = data.strip(b" \0")
    if digits.strip(b"01234567"):
        raise BadTar("an entry of the archive has a number that is none")
    return int(digits or b"0", 8)


def text_of(data: bytes | bytearray) -> str:
    """Return text of an archive; bytes that are not UTF-8 become surrogate escapes."""
    return data.decode("utf-8", "surrogateescape")

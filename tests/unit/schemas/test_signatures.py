"""Only a recent signature with the secret is accepted; nothing makes the check raise."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys

from hypothesis import assume, given
from hypothesis import strategies as st

from emberbox.schemas.signatures import sign, verify_signature

NOW = 1_800_000_000
SECRET = "whsec_secret"  # noqa: S105


def test_the_signature_is_hmac_sha256_over_time_and_body() -> None:
    expected = hmac.new(b"whsec_secret", b'1800000000.{"a":1}', hashlib.sha256).hexdigest()
    assert sign(b'{"a":1}', SECRET, NOW) == f"t=1800000000,v1={expected}"


@given(st.binary(max_size=200), st.text(st.characters(codec="utf-8"), min_size=1, max_size=50))
def test_what_was_signed_is_accepted(body: bytes, secret: str) -> None:
    assert verify_signature(body, sign(body, secret, NOW), secret, now_s=NOW)


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_another_body_is_refused(body: bytes, other: bytes) -> None:
    assume(body != other)
    assert not verify_signature(other, sign(body, SECRET, NOW), SECRET, now_s=NOW)


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_another_secret_is_refused(other: str) -> None:
    assume(other != SECRET)
    assert not verify_signature(b"x", sign(b"x", SECRET, NOW), other, now_s=NOW)


@given(st.integers(-1000, 1000), st.integers(0, 900))
def test_the_time_must_be_near(off_s: int, tolerance_s: int) -> None:
    header = sign(b"x", SECRET, NOW)
    assert verify_signature(b"x", header, SECRET, tolerance_s, now_s=NOW + off_s) == (
        abs(off_s) <= tolerance_s
    )


@given(st.text(max_size=200))
def test_no_header_makes_it_raise(header: str) -> None:
    assert not verify_signature(b"x", header, SECRET, now_s=NOW)
    assert not verify_signature(b"x", f"t={NOW},v1={header}", SECRET, now_s=NOW)


@given(st.integers(0, 200), st.characters())
def test_one_character_changed_is_refused(position: int, character: str) -> None:
    header = sign(b"x", SECRET, NOW)
    changed = header[: position % len(header)] + character + header[position % len(header) + 1 :]
    assume(changed != header)
    assert not verify_signature(b"x", changed, SECRET, now_s=NOW)


def test_one_of_several_signatures_is_enough() -> None:
    old, new = sign(b"x", "old-secret", NOW), sign(b"x", SECRET, NOW)
    header = f"{old},{new.partition(',')[2]}"
    assert verify_signature(b"x", header, SECRET, now_s=NOW)
    assert verify_signature("x", header, "old-secret", now_s=NOW)
    assert not verify_signature(b"x", header, "third-secret", now_s=NOW)


def test_without_one_time_and_a_signature_nothing_is_accepted() -> None:
    good = sign(b"x", SECRET, NOW)
    for header in (
        None,
        "",
        "t=1",
        good.partition(",")[2],
        f"{good},t={NOW}",
        f"{good.upper()}",
        f"t=+{NOW}",
    ):
        assert not verify_signature(b"x", header, SECRET, now_s=NOW)


def test_the_clock_is_used_when_no_time_is_given() -> None:
    assert not verify_signature(b"x", sign(b"x", SECRET, NOW - 800_000_000), SECRET)


def test_receivers_need_no_heavy_imports() -> None:
    code = (
        "import sys, emberbox.schemas.signatures;"
        "print([m for m in ('pydantic', 'httpx', 'sqlalchemy', 'asyncio', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

"""URLs of webhooks: what may be one, and how it is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emberbox.config import WebhookSettings
from emberbox.errors import InvalidInput
from emberbox.service.webhooks.reach import Reach
from emberbox.service.webhooks.targets import check_url, parse_target, redirected


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("https://Example.ORG", "https://example.org/"),
        ("https://example.org:443/a?b=c#d", "https://example.org/a?b=c"),
        ("http://example.org:8080/ü", "http://example.org:8080/%C3%BC"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://[2606:4700::1111]:8443/x", "https://[2606:4700::1111]:8443/x"),
        ("https://example.org./%2e?x=%zz", "https://example.org/%2e?x=%zz"),
    ],
)
def test_a_url_has_one_spelling(url: str, spelled: str) -> None:
    assert check_url(url, Reach(WebhookSettings())).url == spelled


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://x/",
        "javascript:alert(1)",
        "http://",
        "http:///x",
        "http://user@example.org/",
        "http://user:pass@example.org/",
        "http://@example.org/",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://example.org:x/",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://example.org\\@evil.example/",
        "http://example.org\x00/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://[v1.x]/",
        "http://a..b/",
        "http://-x.example/",
        f"http://{'a' * 64}.example/",
        f"http://example.org/{'a' * 8192}",
        "http://ex%61mple.org/",
        "http://example.org,evil.example/",
        f"http://example.org/{'ü' * 2000}",
    ],
)
def test_what_is_no_webhook_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_url(url, Reach(WebhookSettings(allow_private=True)))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "169.254.169.254",
        "10.1.2.3",
        "192.168.0.1",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "１２７.０.０.１",
        "①27.0.0.1",
    ],
)
def test_private_literals_are_refused_unless_allowed(host: str) -> None:
    with pytest.raises(InvalidInput, match="private"):
        check_url(f"http://{host}/", Reach(WebhookSettings()))
    assert check_url(f"http://{host}/", Reach(WebhookSettings(allow_private=True))).port == 80


@given(st.text(max_size=60))
def test_reading_a_url_ends_in_a_target_or_invalid_input(text: str) -> None:
    for url in (text, f"http://{text}", f"https://example.org/{text}"):
        try:
            target = parse_target(url)
        except InvalidInput:
            continue
        assert target.url.isascii()
        assert not set(target.url) & set(" \r\n\t\0\\")
        assert parse_target(target.url) == target


def test_redirects_are_relative_to_where_they_come_from() -> None:
    target = parse_target("https://example.org:8443/a/b?c")
    assert redirected(target, "/x").url == "https://example.org:8443/x"
    assert redirected(target, "d").url == "https://example.org:8443/a/d"
    assert redirected(target, "//other.example/").url == "https://other.example/"


@pytest.mark.parametrize(
    "location", ["http://example.org/", "ftp://example.org/", "https://u:p@example.org/", "https://[", ""]
)
def test_redirects_that_lead_astray_are_refused(location: str) -> None:
    with pytest.raises(InvalidInput):
        redirected(parse_target("https://example.org/"), location)

"""A name leads to addresses that were checked, all of them, or to none."""

from __future__ import annotations

import pytest

from emberbox.net.addresses import is_public
from emberbox.net.names import AddressRefused, NameUnknown, checked_addresses

PUBLIC = [f"8.8.8.{number}" for number in range(1, 34)]


class Names:
    """A resolver that finds the same for all names, or fails."""

    def __init__(self, *found: str, failure: Exception | None = None) -> None:
        self._found, self._failure = list(found), failure
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if self._failure is not None:
            raise self._failure
        return self._found


async def test_few_addresses_are_tried_and_the_best_ones_first() -> None:
    names = Names(*PUBLIC[:32])
    assert await checked_addresses(names, "name.test", 443, is_public) == PUBLIC[:4]
    assert names.asked == ["name.test"]


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        [*PUBLIC[:5], "64:ff9b::a9fe:a9fe"],
        ["2002:a9fe:a9fe::"],
        ["fe80::1%eth0"],
        PUBLIC,
        ["nonsense"],
    ],
)
async def test_all_addresses_must_be_allowed_and_not_too_many(found: list[str]) -> None:
    with pytest.raises(AddressRefused):
        await checked_addresses(Names(*found), "name.test", 443, is_public)


@pytest.mark.parametrize("host", ["8.8.8.8", "134744072", "0x8.8.2056", "010.8.8.8"])
async def test_an_address_is_not_asked_for(host: str) -> None:
    names = Names(failure=OSError("no"))
    assert await checked_addresses(names, host, 443, is_public) == ["8.8.8.8"]
    assert not names.asked


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.1", "0", "::1", "::ffff:7f00:1"])
async def test_an_address_is_checked_in_any_spelling(host: str) -> None:
    with pytest.raises(AddressRefused):
        await checked_addresses(Names(), host, 443, is_public)


@pytest.mark.parametrize("failure", [OSError("not known"), UnicodeError("not known"), None])
async def test_a_name_without_addresses_is_unknown(failure: Exception | None) -> None:
    with pytest.raises(NameUnknown, match="not known" if failure else "no address"):
        await checked_addresses(Names(failure=failure), "name.test", 443, is_public)

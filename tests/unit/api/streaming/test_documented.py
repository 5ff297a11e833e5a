"""The streams' description in docs/ names what the code says and takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from emberbox.api.streaming import conversation, incoming, pulse, sse

if TYPE_CHECKING:
    from types import ModuleType

TEXT = Path("docs/streams.md").read_text("utf-8")


def table(heading: str) -> list[str]:
    """Return the first column of the table under this head."""
    rows = TEXT.partition(f"\n| {heading} |")[2].split("\n\n")[0].splitlines()[2:]
    return [row.split("|")[1].strip(" `") for row in rows]


def source_of(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text("utf-8")


def test_events() -> None:
    named = re.findall(r'_event\("([a-z]+)"', source_of(sse))
    assert sorted(set(named)) == sorted(table("event"))
    assert f"id: {sse.END}\n" in TEXT
    assert sse.HEARTBEAT.decode().strip() in TEXT


def test_messages() -> None:
    said = re.findall(r'type="([a-z]+)"|"type":"([a-z]+)"', source_of(conversation))
    assert {a or b for a, b in said} == set(table("`type`"))
    taken = set(re.findall(r'case "([a-z_]+)"', source_of(incoming)))
    described = TEXT.partition("It takes JSON")[2].split("\n\n")[1].splitlines()[2:]
    assert taken == {row.split("|")[1].strip(" `") for row in described}


def test_figures() -> None:
    codes = {conversation.NORMAL, conversation.UNSUITED, conversation.NOT_PERMITTED, conversation.TOO_BIG}
    codes |= {conversation.FAILED, conversation.AGAIN, 1012}
    assert {int(code) for code in table("closed with")} == codes
    assert incoming.MESSAGE_BYTES == 1 << 20
    assert (pulse.HEARTBEAT_S, pulse.STALLED_S) == (15, 300)

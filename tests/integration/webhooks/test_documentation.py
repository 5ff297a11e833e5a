"""The ways to check a signature in docs/webhooks.md: each accepts what is genuine, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emberbox.schemas.signatures import sign
from emberbox.schemas.webhooks import Event, WebhookEvent

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = (Path(__file__).parents[3] / "docs/webhooks.md").read_text("utf-8")
SECRET = "whsec_Zm9v-_bar"  # noqa: S105


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def cases(body: bytes) -> list[tuple[str, bytes, bool]]:
    now = int(time.time())
    good = sign(body, SECRET, now)
    return [
        (good, body, True),
        (sign(body, SECRET, now - 200), body, True),
        (good, body + b" ", False),
        (good.replace("v1=", "v1=0"), body, False),
        (sign(body, "whsec_other", now), body, False),
        (sign(body, SECRET, now - 400), body, False),
        (sign(body, SECRET, now + 400), body, False),
        (f"t={now}", body, False),
        ("", body, False),
    ]


@pytest.mark.parametrize("number", [0, 1])
def test_the_python_shown_checks_signatures(number: int) -> None:
    names: dict[str, Any] = {}
    exec(blocks("python")[number], names)  # noqa: S102
    is_genuine: Callable[[bytes, dict[str, str], str], bool] = names["is_genuine"]
    for header, body, genuine in cases('{"a": "ü"}'.encode()):
        assert is_genuine(body, {"Emberbox-Signature": header}, SECRET) is genuine, header
    assert not is_genuine(b"{}", {}, SECRET)


async def test_the_shell_shown_checks_signatures(tmp_path: Path) -> None:
    program = next(block for block in blocks("sh") if "openssl" in block)
    path = tmp_path / "body"
    for header, body, genuine in cases('{"a": "ü"}'.encode()):
        path.write_bytes(body)
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            program,
            stdout=-1,
            env={"PATH": "/usr/bin:/bin", "BODY": str(path), "SIGNATURE": header, "SECRET": SECRET},
        )
        output, _ = await process.communicate()
        assert output.decode().strip() == ("genuine" if genuine else "forged"), header


def test_the_payload_shown_is_an_event() -> None:
    shown = next(json.loads(block) for block in blocks("json") if '"version"' in block)
    event = Event.model_validate(shown)
    assert event.data.job is not None
    assert event.data.job.times.finished_at is not None
    assert set(shown["data"]["job"]) == set(type(event.data.job).model_fields)


def test_every_event_is_on_the_page() -> None:
    assert all(f"`{event.value}`" in PAGE for event in WebhookEvent)

"""What `emberbox serve` is made of: log lines, news for systemd."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from emberbox.server.service_log import JsonLines, TextLines
from emberbox.server.systemd import notify, watchdog_interval_s
from emberbox.text import has_hidden
from tests.patience import PATIENCE_S

if TYPE_CHECKING:
    from pathlib import Path


def _record(message: str, **extra: object) -> logging.LogRecord:
    return logging.getLogger("emberbox.x").makeRecord(
        "emberbox.x", logging.INFO, "f", 1, message, (), None, extra=extra
    )


def test_a_line_of_json_holds_all() -> None:
    line = json.loads(JsonLines().format(_record("taken", action="jobs.claimed", job="job_1", count=3)))
    assert (line["action"], line["message"], line["level"], line["job"], line["count"]) == (
        "jobs.claimed",
        "taken",
        "info",
        "job_1",
        3,
    )
    assert line["logger"] == "emberbox.x"
    assert line["time"].endswith("+00:00")


def test_a_line_of_text_cannot_be_forged() -> None:
    line = TextLines().format(_record("ended", action="job.ended", name_of_it="x\n2026 INFO \x1b[2J forged"))
    assert "\n" not in line
    assert "\x1b" not in line
    assert "job.ended ended name_of_it=x\\x0a2026" in line


@pytest.mark.parametrize("form", [TextLines(), JsonLines()])
def test_what_a_name_hides_is_written_out(form: logging.Formatter) -> None:
    try:
        raise ValueError("a\u202eb")
    except ValueError:
        record = _record("\u200bended", name_of_it="x\u2066y")
        record.exc_info = sys.exc_info()
    line = form.format(record)
    assert not has_hidden(line.replace("\n", ""))
    assert all(written in line for written in ("\\u202e", "\\u200b", "\\u2066"))


def test_both_forms_hold_tracebacks() -> None:
    try:
        raise ValueError("the reason")
    except ValueError:
        record = _record("broke", action="a.b")
        record.exc_info = sys.exc_info()
    assert "the reason" in TextLines().format(record)
    assert "the reason" in json.loads(JsonLines().format(record))["traceback"]


def test_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert listener.recv(100) == b"READY=1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0emberbox-test-{os.getpid()}")
        listener.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@emberbox-test-{os.getpid()}")
        notify("STOPPING=1")
        assert listener.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", ["", "nonsense", "/no/such/socket"])
def test_without_systemd_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


@pytest.mark.parametrize(
    ("variables", "interval_s"),
    [
        ({"WATCHDOG_USEC": "60000000"}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_twice_as_often_as_it_asks(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], interval_s: float | None
) -> None:
    for name in ("WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert watchdog_interval_s() == interval_s

"""The service's log: one line for each event on standard error, for people or for programs."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from emberbox.text import escaped, escaped_json

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


def configure_service_log(level: str, form: str) -> None:
    """Send all logs to standard error.

    Args:
        level: `debug`, `info`, `warning` or `error`, for what is Emberbox's own; others begin at `warning`.
        form: `text` or `json`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    ours = logging.getLogger("emberbox")
    ours.handlers = []
    ours.setLevel(level.upper())


class JsonLines(logging.Formatter):
    """One JSON object for each record: time, level, action, message, logger, and what `extra` holds."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "action": getattr(record, "action", None),
            "message": record.getMessage(),
            "logger": record.name,
            **{name: value for name, value in _extra(record).items() if name != "action"},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return escaped_json(json.dumps(line, default=str, ensure_ascii=False))


class TextLines(logging.Formatter):
    """Time, level, action, message, and what `extra` holds as `name=value`.

    What is hidden is written out (`emberbox.text`).
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the lines of a traceback below it."""
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        extra = _extra(record)
        words = [moment, f"{record.levelname:<7}", str(extra.pop("action", record.name)), record.getMessage()]
        words += [f"{name}={value}" for name, value in extra.items()]
        line = escaped(" ".join(words))
        if not record.exc_info:
            return line
        return f"{line}\n{escaped(self.formatException(record.exc_info), lines=True)}"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}

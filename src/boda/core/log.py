"""The platform's own log: one line for each record on standard error, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Literal, TextIO

Level = Literal["debug", "info", "warning", "error"]
Form = Literal["text", "json"]

FACTS = "facts"
"""The attribute of a record that has the message's facts as members, for JSON."""


def configure(level: Level, form: Form, stream: TextIO | None = None) -> None:
    """Write boda's records from a level on to a stream; other libraries' from warnings on."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("boda").setLevel(level.upper())


def _time(record: logging.LogRecord) -> str:
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{moment}.{int(record.msecs):03d}Z"


class TextLines(logging.Formatter):
    """``boda: 2026-11-29T12:00:00.000Z warning: the message``, with a traceback below it."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"boda: {_time(record)} {record.levelname.lower()}: {record.getMessage()}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class JsonLines(logging.Formatter):
    """One object for each record, its traceback in a member."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, FACTS, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)

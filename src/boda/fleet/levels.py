"""Filters a function's lines by log level, in the JSON format. Pure.

A line that is a JSON object with a ``level`` and an RFC 3339 ``timestamp`` has that level; every
other line counts as INFO. Lines below the function's ``ApplicationLogLevel`` are dropped. Source:
Lambda developer guide, "monitoring-cloudwatchlogs-log-level".
"""

from __future__ import annotations

import re

import orjson

_RANKS = {
    "TRACE": 0,
    "DEBUG": 1,
    "INFO": 2,
    "WARN": 3,
    "WARNING": 3,
    "ERROR": 4,
    "FATAL": 5,
    "CRITICAL": 5,
}
_PLAIN = _RANKS["INFO"]
_TIMESTAMP = re.compile(
    r"\d{4}-(0\d|1[0-2])-([0-2]\d|3[01])[Tt ]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?"
    r"([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)"
)


class LevelFilter:
    """Keeps lines from one level on. least: the function's ``ApplicationLogLevel``."""

    def __init__(self, least: str) -> None:
        self._least = _RANKS[least]

    def keeps(self, line: str) -> bool:
        return self._rank(line) >= self._least

    def _rank(self, line: str) -> int:
        if '"level"' not in line or not line.lstrip().startswith("{"):
            return _PLAIN
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            return _PLAIN
        level, timestamp = said.get("level"), said.get("timestamp")
        if not isinstance(level, str) or not isinstance(timestamp, str):
            return _PLAIN
        if _TIMESTAMP.fullmatch(timestamp) is None:
            return _PLAIN
        return _RANKS.get(level.upper(), _PLAIN)


def levels_of(log_format: str, application_level: str) -> LevelFilter | None:
    """Return the filter of a function, or None if every line is logged."""
    if log_format != "JSON" or application_level == "TRACE":
        return None
    return LevelFilter(application_level or "INFO")

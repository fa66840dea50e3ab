"""One request to the Runtime API over HTTP, and its answer."""

from __future__ import annotations

import re
from typing import NamedTuple

import orjson

_ERROR_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9_.:<>-]{0,255}")
_TYPE_WITHIN = re.compile(rb'"errorType"\s{0,9}:\s{0,9}"([A-Za-z][A-Za-z0-9_.:<>-]{0,255})"')
_LARGE_ERROR = 64 * 1024


class ApiRequest:
    """A request as it is received. oversized: its body was too large, and was thrown away."""

    __slots__ = ("body", "headers", "method", "oversized", "target")

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.oversized = False

    @property
    def path(self) -> str:
        return self.target.decode("latin-1").partition("?")[0]

    def error_type(self) -> str:
        """Return the type of the error that the request reports, from its headers or its body."""
        given = self.headers.get("lambda-runtime-function-error-type", "")
        if _ERROR_TYPE.fullmatch(given):
            return given
        body = bytes(self.body)
        if len(body) > _LARGE_ERROR:  # parsing it whole could block the event loop
            found = _TYPE_WITHIN.search(body)
            return found[1].decode() if found else "Runtime.Unknown"
        try:
            given = orjson.loads(body)["errorType"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return "Runtime.Unknown"
        if isinstance(given, str) and _ERROR_TYPE.fullmatch(given):
            return given
        return "Runtime.Unknown"


class ApiAnswer(NamedTuple):
    """forward: the request carried an invocation forward, and is not charged."""

    status: int
    body: bytes
    headers: dict[str, str] | None = None
    forward: bool = False

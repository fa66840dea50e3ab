"""The requests that become events, the answers that results become, and the rules for both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

# Headers of a connection or a transfer, which functions do not set.
HOP_HEADERS = frozenset(
    ("connection", "transfer-encoding", "keep-alive", "upgrade", "te", "trailer", "expect")
)

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSENDABLE = re.compile(r"[\0-\x08\n-\x1f\x7f\ud800-\udfff]")

Lines = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as a front end received it.

    path, query: raw, still percent-encoded. lines: its header lines in order, names as written.
    port: the one that the client called. source_ip: the client's address.
    """

    method: str
    path: str
    query: str
    lines: Sequence[tuple[str, str]]
    body: bytes
    host: str
    source_ip: str
    protocol: str = "HTTP/1.1"
    scheme: str = "http"
    port: int = 80

    def header(self, name: str) -> str:
        """Return a header's last value by its lower-case name, or an empty string."""
        found = ""
        for each, value in self.lines:
            if each.lower() == name:
                found = value
        return found

    def with_body(self, body: bytes) -> HttpRequest:
        """Return the same request with another body."""
        return replace(self, body=body)

    def forwarded(self, trace_id: str) -> dict[str, str]:
        """Return the headers that a front end adds, by lower-case name."""
        before = self.header("x-forwarded-for")
        return {
            "x-amzn-trace-id": trace_id,
            "x-forwarded-for": f"{before}, {self.source_ip}" if before else self.source_ip,
            "x-forwarded-port": str(self.port),
            "x-forwarded-proto": self.scheme,
        }


class HttpAnswer(NamedTuple):
    """An answer to a client. headers: in order, names as they are sent."""

    status: int
    headers: Lines
    body: bytes = b""


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return all values of each name."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def query_pairs(query: str, *, decoded: bool) -> list[tuple[str, str]]:
    """Return the names and values of a query in order; a name without ``=`` has an empty value."""
    pairs = []
    for part in query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.append((unquote_plus(name), unquote_plus(value)) if decoded else (name, value))
    return pairs


@lru_cache(maxsize=4)
def request_time(epoch_s: int) -> str:
    """Return a moment as ``12/Mar/2020:19:03:58 +0000``."""
    return f"{datetime.fromtimestamp(epoch_s, UTC):%d/%b/%Y:%H:%M:%S} +0000"


def status_of(value: Any, least: int = 200, most: int = 599) -> int | None:
    """Return a status given as a number or as digits. None if it is no status."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    whole = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
    return value if whole else None


def header_text(value: Any) -> str:
    """Return a string, number or boolean as a header's value. Raises TypeError otherwise."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return json.dumps(value)
    raise TypeError("a list or an object is no header's value")


def sendable(lines: Lines) -> Lines | None:
    """Return the lines. None if a name or a value cannot be sent."""
    if any(_NAME.fullmatch(name) is None or _UNSENDABLE.search(value) for name, value in lines):
        return None
    return lines


def last_values(values: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the last value of each name."""
    return {name: each[-1] for name, each in values.items()}

"""Requests for the forms of events/http, and results as the answers they become."""

from __future__ import annotations

import json
from typing import Any

from boda.events.http import payload_1
from boda.events.http.messages import HttpRequest


def request(**changes: Any) -> HttpRequest:
    members: dict[str, Any] = {
        "method": "POST",
        "path": "/pets/7",
        "query": "a=1&a=2&b=%C3%A9+x&c",
        "lines": [
            ("Host", "abc.execute-api.localhost"),
            ("X-List", "one"),
            ("X-List", "two"),
            ("Connection", "keep-alive"),
            ("User-Agent", "test"),
            ("Content-Type", "application/json"),
        ],
        "body": b'{"x": 1}',
        "host": "abc.execute-api.localhost",
        "source_ip": "10.0.0.1",
        "port": 4566,
    }
    return HttpRequest(**{**members, **changes})


def answered(result: Any, accepts_binary: bool = False) -> tuple[int, dict[str, Any], bytes] | None:
    """A result of payload format 1.0 as status, headers and body; None where it is malformed."""
    found = payload_1.answer(json.dumps(result).encode(), accepts_binary)
    if found is None:
        return None
    headers: dict[str, Any] = {}
    for name, value in found.headers:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return found.status, headers, found.body

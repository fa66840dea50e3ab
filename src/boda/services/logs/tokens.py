"""Paging tokens. Pure.

A token of GetLogEvents names a place in a stream, in AWS's own form: ``f/<event id>/s`` goes on
behind that event, ``b/<event id>/s`` before it. The other tokens are opaque and belong to the
parameters they were made for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from boda.core.errors import AwsError
from boda.services.logs.names import invalid

_PLACE = re.compile(r"([fb])/(\d{56})/s")
_LONGEST = 4096


def place_token(direction: str, position: int) -> str:
    """direction: ``f`` or ``b``."""
    return f"{direction}/{max(0, position):056d}/s"


def read_place(token: str) -> tuple[str, int]:
    found = _PLACE.fullmatch(token)
    if found is None:
        raise _bad()
    return found[1], int(found[2])


def page_token(asked: Any, place: Any) -> str:
    """asked: the parameters that must be the same on the next call. place: JSON-able."""
    text = json.dumps([_digest(asked), place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def read_page_token(token: str, asked: Any) -> Any:
    """The place; AwsError InvalidParameterException when it is no token of these parameters."""
    if len(token) > _LONGEST:
        raise _bad()
    try:
        digest, place = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, RecursionError):
        raise _bad() from None
    if digest != _digest(asked):
        raise _bad()
    return place


def _digest(asked: Any) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _bad() -> AwsError:
    return invalid("The specified nextToken is invalid.")

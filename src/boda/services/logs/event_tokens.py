"""Tokens of GetLogEvents: each holds a position in a stream, in AWS's own form. Pure.

``f/<event id>/s`` goes on behind that event, ``b/<event id>/s`` before it.
"""

from __future__ import annotations

import re

from boda.core.errors import AwsError
from boda.services.logs.names import invalid

_PLACE = re.compile(r"([fb])/(\d{56})/s")


def place_token(direction: str, position: int) -> str:
    """Return the token of a position. direction: ``f`` or ``b``."""
    return f"{direction}/{max(0, position):056d}/s"


def read_place(token: str) -> tuple[str, int]:
    """Return direction and position. Raises AwsError if the token has another form."""
    found = _PLACE.fullmatch(token)
    if found is None:
        raise refused_token("nextToken", token)
    return found[1], int(found[2])


def refused_token(_name: str, _token: str) -> AwsError:
    return invalid("The specified nextToken is invalid.")

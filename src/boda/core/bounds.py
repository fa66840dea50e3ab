"""How many members and values a document may have before its parser stops.

Law of this file: a parser builds nothing beyond its bounds, so that the cost of a document is known
before it is read.
"""

from __future__ import annotations

from typing import NamedTuple

from boda.core.errors import MalformedInput

UNTOLD = 10_000
"""The longest list, where no other bound is given."""
VALUES_EACH = 16


class Bounds(NamedTuple):
    """members: of one list, map or structure. values: of the whole document, keys not counted."""

    members: int = UNTOLD
    values: int = UNTOLD * VALUES_EACH

    def exceeded(self) -> MalformedInput:
        return MalformedInput("The request body has more members than the operation takes")


DEFAULT = Bounds()

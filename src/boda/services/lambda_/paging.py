"""Lists in pages: a marker says after which item the next page begins. Pure."""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TypeVar

from boda.services.lambda_.errors import invalid

T = TypeVar("T")


def page(
    items: Sequence[T], key: Callable[[T], str], marker: str | None, most: int
) -> tuple[Sequence[T], str | None]:
    """At most so many of the items after the marker, and the next marker if there are more.

    items: sorted by key. Raises AwsError (400) where the marker is none of ours.
    """
    if marker:
        after = _unmark(marker)
        items = items[bisect_right(items, after, key=key) :]
    if len(items) <= most:
        return items, None
    return items[:most], _mark(key(items[most - 1]))


def _mark(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode("ascii")


def _unmark(marker: str) -> str:
    try:
        return base64.b64decode(marker.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError):
        raise invalid("Invalid pagination token.") from None

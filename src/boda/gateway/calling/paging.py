"""Lists in pages, as operations see them.

An operation marked ``paged`` returns a listing: its rows in order, which can be read from any key
on. The gateway reads one page of it and puts the rows, the next token and whether there are more
under the names that botocore's paginator of the operation gives them (pager.py). ::

    @operation("ListUsers", authorize=..., paged=PAGED)
    async def list_users(self, ctx, *, path_prefix="/"):
        return RowList(self._below(path_prefix), lambda user: user.name, shapes.listed_user)

Tokens are sealed by the gateway. Where AWS's own tokens are text that clients may make themselves,
such as keys of objects and ARNs of functions, the operation declares so (``readable``), reads them
itself and gives the next ones.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Generic, TypeVar

from boda.core.errors import AwsError

T = TypeVar("T")

# The end of a page: of JSON's types, so that a token can hold it.
Key = Any

DAY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing.

    rows: as they are answered; pairs of result key and row if the paginator has several.
    end: the key that the next page begins behind, None at the end of the listing. With readable
    tokens it is the next token, or the members of the answer that make up the next tokens.
    members: further members of the answer that depend on the page.
    """

    rows: Sequence[Any]
    end: Key = None
    members: Mapping[str, Any] = field(default_factory=dict)


# Reads a page behind a key, or from the beginning if the key is None, of so many rows.
Listing = Callable[[Key, int], Awaitable[Page]]


class RowList(Generic[T]):
    """Rows in memory, in the order of their keys.

    key: unique among the rows. show: makes the answered form of a row.
    """

    def __init__(
        self, rows: Sequence[T], key: Callable[[T], Any], show: Callable[[T], Any] = lambda row: row
    ) -> None:
        self._rows = rows
        self._key = key
        self._show = show

    @classmethod
    def ordering(
        cls, rows: Iterable[T], key: Callable[[T], Any], show: Callable[[T], Any] = lambda row: row
    ) -> RowList[T]:
        """Sort rows by their keys first."""
        return cls(sorted(rows, key=key), key, show)

    async def __call__(self, key: Key, limit: int) -> Page:
        begin = 0 if key is None else bisect_right(self._rows, key, key=self._key)
        found = self._rows[begin : begin + limit]
        more = bool(found) and begin + limit < len(self._rows)
        return Page([self._show(row) for row in found], self._key(found[-1]) if more else None)


class Walk(Generic[T]):
    """Rows from the one that a readable token names on.

    token: makes the token of the page that begins with a row.
    """

    def __init__(
        self, rows: Iterable[T], token: Callable[[T], str], show: Callable[[T], Any]
    ) -> None:
        self._rows = rows
        self._token = token
        self._show = show

    async def __call__(self, key: Key, limit: int) -> Page:
        walk = iter(self._rows)
        found = [self._show(row) for row in islice(walk, limit)]
        for row in walk:
            return Page(found, self._token(row))
        return Page(found)


@dataclass(frozen=True, slots=True)
class Paging:
    """How a service pages.

    refused: makes the error for an invalid token, given the parameter's name and the token. size:
    rows of a page if the caller gives no number. most: rows of a page at most, beyond the model's
    limits. life_s: how long a token is valid.
    """

    refused: Callable[[str, str], AwsError]
    size: int = 100
    most: int | None = None
    life_s: float = DAY_S


@dataclass(frozen=True, slots=True)
class Paged:
    """How an operation pages, where it differs from its service.

    readable: its tokens are text that clients may make, which the operation reads and makes.
    free: parameters that may change from page to page, since they do not change the listing.
    paginator: in botocore's form, for an operation without one in botocore.
    """

    size: int | None = None
    most: int | None = None
    readable: bool = False
    free: frozenset[str] = frozenset()
    paginator: Mapping[str, Any] | None = None


PAGED = Paged()
READABLE = Paged(readable=True)

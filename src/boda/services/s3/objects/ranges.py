"""Parts of an object: byte ranges. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from boda.core.errors import AwsError
from boda.services.s3 import errors

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_COPY_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_DIGITS = 19


@dataclass(frozen=True, slots=True)
class Span:
    """``length`` bytes from ``start`` of an object of ``size`` bytes."""

    start: int
    length: int
    size: int

    @property
    def whole(self) -> bool:
        return self.start == 0 and self.length == self.size

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.size}"


def parse(header: str | None, size: int) -> Span | None:
    """Return the span of a ``Range`` header; None if S3 ignores the header (bad form, several).

    Raises InvalidRange (416).
    """
    if not header:
        return None
    found = _RANGE.fullmatch(header.replace(" ", ""))
    if found is None or not (found[1] or found[2]) or max(map(len, found.groups())) > _DIGITS:
        return None
    if not found[1]:
        count = min(int(found[2]), size)
        if count == 0:
            raise _unsatisfiable(header, size)
        return Span(size - count, count, size)
    first = int(found[1])
    last = int(found[2]) if found[2] else size - 1
    if found[2] and last < first:
        return None
    if first >= size:
        raise _unsatisfiable(header, size)
    return Span(first, min(last, size - 1) - first + 1, size)


def parse_copy(header: str, size: int) -> Span:
    """Return the span of ``x-amz-copy-source-range``, which S3 parses strictly."""
    found = _COPY_RANGE.fullmatch(header)
    bad = found is None or max(map(len, found.groups())) > _DIGITS
    if bad or found is None or int(found[2]) < int(found[1]):
        raise errors.invalid_argument(
            "x-amz-copy-source-range",
            header,
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first "
            "and last are the zero-based offsets of the first and last bytes to copy",
        )
    first, last = int(found[1]), int(found[2])
    if first >= size:
        raise errors.invalid_request(
            "The specified copy range is invalid for the source object size"
        )
    if last >= size:
        raise errors.invalid_argument(
            "x-amz-copy-source-range",
            header,
            f"Range specified is not valid for source object of size: {size}",
        )
    return Span(first, last - first + 1, size)


def _unsatisfiable(header: str, size: int) -> AwsError:
    return AwsError(
        "InvalidRange",
        "The requested range is not satisfiable",
        416,
        headers={"Content-Range": f"bytes */{size}"},
        RangeRequested=header,
        ActualObjectSize=str(size),
    )

"""CBOR bodies: decoding within bounds, encoding, and the shapes' readers and writers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import cbor2
from botocore.model import Shape

from boda.core.bounds import DEFAULT, Bounds
from boda.core.errors import MalformedInput
from boda.gateway.protocols.scalars import as_moment, moment_to_number
from boda.gateway.protocols.tree import Convert, TreeReader, TreeWriter, unexpected

_MAX_DEPTH = 128
_LARGE = 64 * 1024
# Tags whose decoding costs more than their bytes (fractions, regular expressions, shared and
# string references …) and which no AWS shape uses.
_REFUSED_TAGS = (4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000)


def _refuse(*_: Any) -> Any:
    raise ValueError("unexpected CBOR tag")


def decode(body: bytes, bounds: Bounds = DEFAULT) -> Any:
    if len(body) > _LARGE:
        _check_bounds(body, bounds)
    try:
        return cbor2.loads(
            body,
            tag_hook=_refuse,
            semantic_decoders=dict.fromkeys(_REFUSED_TAGS, _refuse),
            max_depth=_MAX_DEPTH,
            strict_hashable_types=True,
        )
    except Exception:  # also of the decoder's own converters
        raise MalformedInput("The request body is not valid CBOR") from None


def _check_bounds(body: bytes, bounds: Bounds) -> None:
    """Raise MalformedInput for more values than the bounds allow.

    The decoder holds the interpreter's lock from the first byte to the last, and trusts the length
    that a container declares: so the heads of all values are checked first, one by one.
    """
    at, left = 0, 2 * bounds.values  # keys of maps are counted here, too
    while at < len(body):
        kind, size = body[at] >> 5, body[at] & 31
        at += 1
        number = size
        if 24 <= size <= 27:
            width = 1 << (size - 24)
            number = int.from_bytes(body[at : at + width], "big")
            at += width
        if size != 31:
            if kind in (2, 3):
                at += number
            elif kind in (4, 5) and number > bounds.members:
                raise bounds.exceeded()
        left -= 1
        if left < 0:
            raise bounds.exceeded()


def encode(tree: Any) -> bytes:
    encoded: bytes = cbor2.dumps(tree)
    return encoded


class CborReader(TreeReader):
    def blob(self, value: Any) -> bytes:
        if type(value) is bytes:
            return value
        raise unexpected(value, "Blob")

    def timestamp(self, shape: Shape) -> Convert:
        return _moment


class CborWriter(TreeWriter):
    def blob(self, value: Any) -> bytes:
        return value.encode() if isinstance(value, str) else bytes(value)

    def timestamp(self, shape: Shape) -> Convert:
        return lambda value: cbor2.CBORTag(1, moment_to_number(value))


def _moment(value: Any) -> datetime:
    if isinstance(value, datetime):
        return as_moment(value)
    raise unexpected(value, "timestamp")

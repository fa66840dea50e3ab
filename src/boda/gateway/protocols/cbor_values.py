"""CBOR bodies: decoding within bounds, encoding, and the shapes' readers and writers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import cbor2
from botocore.model import Shape

from boda.gateway.protocols.scalars import Malformed, as_moment, moment_to_number
from boda.gateway.protocols.tree import Convert, TreeReader, TreeWriter, unexpected

_MAX_DEPTH = 128
# Tags whose decoding costs more than their bytes (fractions, regular expressions, shared and
# string references …) and which no AWS shape uses.
_REFUSED_TAGS = (4, 5, 25, 28, 29, 30, 35, 36, 37, 100, 256, 258, 260, 261, 1004, 43000)


def _refuse(*_: Any) -> Any:
    raise ValueError("unexpected CBOR tag")


def decode(body: bytes) -> Any:
    try:
        return cbor2.loads(
            body,
            tag_hook=_refuse,
            semantic_decoders=dict.fromkeys(_REFUSED_TAGS, _refuse),
            max_depth=_MAX_DEPTH,
            strict_hashable_types=True,
        )
    except Exception:  # the decoder runs converters of its own: whatever fails is the body's fault
        raise Malformed("The request body is not valid CBOR") from None


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

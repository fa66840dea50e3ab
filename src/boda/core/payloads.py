"""Read JSON of up to 6 MB from callers and functions without blocking the event loop.

A reader in C holds the interpreter's lock from a document's first byte to its last: 6 MB of empty
lists take a quarter of a second. Large documents are read in a thread. Large documents with many
values are validated without the lock, and read, if they must be, by a reader that lets other
threads run in between.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from boda.core import large_json
from boda.core.bounds import Bounds
from boda.core.errors import MalformedInput
from boda.core.json_check import is_json
from boda.core.long_work import beside

READ_AT_ONCE_BYTES = 64 * 1024
"""The largest document that is read on the event loop."""
_MOST = 200_000
"""The most containers, or values, of a document that a reader in C is given."""
_UNBOUNDED = Bounds(1 << 40, 1 << 40)


async def check(payload: bytes) -> None:
    """Validate a payload. Raises ValueError if it is no JSON."""
    if len(payload) <= READ_AT_ONCE_BYTES:
        orjson.loads(payload)
    else:
        await beside(_check, payload)


def _check(payload: bytes) -> None:
    if not _has_more(payload, b"[{,"):
        orjson.loads(payload)
    elif not is_json(payload):
        raise ValueError("not JSON")


def loads(payload: bytes) -> Any:
    """Parse as json.loads does; call in a thread for large payloads. Raises ValueError.

    Of a dense payload, only the outer object and the objects in it are returned.
    """
    if is_dense(payload):
        if payload.lstrip()[:1] == b"{":
            return _read_in_steps(payload, 2)
        _check(payload)
        return []
    # These first bytes mean UTF-8; json would look for other encodings.
    plain = payload[:1] == b"{" and payload[1:2] != b"\0"
    return json.loads(payload.decode(errors="surrogatepass") if plain else payload)


def is_dense(payload: bytes) -> bool:
    """Return whether a payload opens so many containers that it is read in steps."""
    return len(payload) > READ_AT_ONCE_BYTES and _has_more(payload, b"[{")


def _has_more(payload: bytes, those: bytes) -> bool:
    """Return whether more than ``_MOST`` of the payload's bytes are among ``those``.

    Other threads run between two windows: counting millions takes long.
    """
    seen = 0
    for start in range(0, len(payload), READ_AT_ONCE_BYTES):
        window = payload[start : start + READ_AT_ONCE_BYTES]
        seen += len(window) - len(window.translate(None, those))
        if seen > _MOST:
            return True
    return False


def _read_in_steps(payload: bytes, kept_depth: int) -> Any:
    try:
        return large_json.parse(payload, _UNBOUNDED, whole_text=True, kept_depth=kept_depth)
    except MalformedInput as error:
        raise ValueError(error.reason) from None

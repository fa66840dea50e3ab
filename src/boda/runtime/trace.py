"""The ``X-Amzn-Trace-Id`` header, and its lineage, which stops endless loops of functions.

``Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=0;Lineage=<hops>:<8 hex>:<generation>``

AWS SDKs inside a function forward ``_X_AMZN_TRACE_ID`` with every request, services pass it on,
and so the number of invocations that led to one is known. AWS refuses about the seventeenth
(Lambda developer guide, "invocation-recursion"). Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

HEADER = "x-amzn-trace-id"
MAX_HOPS = 16
"""The invocations of one chain that are allowed; the next one is refused."""

_MAX_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Trace:
    """A parsed header. hops: how many invocations led here, without this one."""

    root: str = ""
    parent: str = ""
    sampled: str = ""
    hops: int = 0


def parse(header: str) -> Trace:
    """Parse a header; ignore fields that are malformed."""
    if not header or len(header) > _MAX_LENGTH:
        return Trace()
    fields: dict[str, str] = {}
    for part in header.split(";"):
        name, separator, value = part.strip().partition("=")
        if separator:
            fields.setdefault(name.lower(), value)
    sampled = fields.get("sampled", "")
    return Trace(
        root=_clean(fields.get("root", "")),
        parent=_clean(fields.get("parent", "")),
        sampled=sampled if sampled in ("0", "1") else "",
        hops=_hops(fields.get("lineage", "")),
    )


def next_hop(
    header: str, function_arn: str, now_s: float, chance: Callable[[int], str]
) -> tuple[str, int]:
    """Return the trace of an invocation, and how many invocations led to it.

    header: of the invoking request. function_arn: of the invoked function, unqualified. now_s:
    epoch seconds, for a new root. chance: returns so many random hex digits. From MAX_HOPS on the
    invocation is to be refused, if the function's recursive loop setting is ``Terminate``.
    """
    if not header:  # the usual case: the first of a chain
        digits = chance(40)
        return (
            f"Root=1-{int(now_s):08x}-{digits[:24]};Parent={digits[24:]};Sampled=0;"
            f"Lineage=1:{_hash(function_arn)}:0",
            0,
        )
    trace = parse(header)
    root = trace.root or f"1-{int(now_s):08x}-{chance(24)}"
    sampled = trace.sampled or "0"
    line = f"{trace.hops + 1}:{_hash(function_arn)}:0"
    return f"Root={root};Parent={chance(16)};Sampled={sampled};Lineage={line}", trace.hops


def _hops(lineage: str) -> int:
    """Return the length of the longest chain of a lineage (``5:1a2b3c4d:0|2:…``)."""
    hops = 0
    for chain in lineage.split("|"):
        count = chain.partition(":")[0]
        if count.isascii() and count.isdigit() and len(count) <= 6:
            hops = max(hops, int(count))
    return hops


def _clean(value: str) -> str:
    """Return "" unless the value has only characters of a trace id, as it is put into variables and
    headers."""
    return value if all(c.isascii() and (c.isalnum() or c == "-") for c in value) else ""


@lru_cache(maxsize=4096)
def _hash(function_arn: str) -> str:
    return hashlib.sha256(function_arn.encode()).hexdigest()[:8]

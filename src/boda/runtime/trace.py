"""The ``X-Amzn-Trace-Id`` header, and the lineage in it that stops functions from calling
themselves forever.

``Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=0;Lineage=<hops>:<8 hex>:<generation>``

AWS SDKs inside a function forward ``_X_AMZN_TRACE_ID`` with every request, services carry it on,
and so an invocation knows how many invocations led to it. AWS refuses about the seventeenth
(Lambda developer guide, "invocation-recursion"). Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

HEADER = "x-amzn-trace-id"
MAX_HOPS = 16
"""How many invocations one chain may hold; the next one is refused."""

_MAX_LENGTH = 1024


@dataclass(frozen=True, slots=True)
class Trace:
    """A parsed header. hops: how many invocations led here, this one not counted."""

    root: str = ""
    parent: str = ""
    sampled: str = ""
    hops: int = 0


def parse(header: str) -> Trace:
    """Never fails: what does not parse is as if it were absent."""
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
    """The trace an invocation runs under, and how many invocations led to it.

    header: of the request that invokes. function_arn: unqualified, of the function invoked.
    now_s: epoch seconds, for a new root. chance: so many hex digits.
    With ``hops`` ≥ MAX_HOPS the invocation is to be refused where the function's recursive loop
    setting says ``Terminate``.
    """
    if not header:  # the usual case: nothing came before
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
    """The longest of the chains of a lineage (``5:1a2b3c4d:0|2:…``)."""
    hops = 0
    for chain in lineage.split("|"):
        count = chain.partition(":")[0]
        if count.isascii() and count.isdigit() and len(count) <= 6:
            hops = max(hops, int(count))
    return hops


def _clean(value: str) -> str:
    """Only what a trace id is made of: it goes into an environment variable and into headers."""
    return value if all(c.isascii() and (c.isalnum() or c == "-") for c in value) else ""


@lru_cache(maxsize=4096)
def _hash(function_arn: str) -> str:
    return hashlib.sha256(function_arn.encode()).hexdigest()[:8]

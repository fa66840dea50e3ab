"""The cost on AWS, by its list price. Pure.

Prices are those of us-east-1, x86, on demand (aws.amazon.com/lambda/pricing); the volume tiers
above six billion GB-seconds a month are not applied. The free tier is one per account and
calendar month over all regions, and covers requests and compute, not ephemeral storage.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from boda.telemetry.metering import UsageSums, VersionUsage, by_function

REQUEST_USD = Decimal("0.20") / 1_000_000
GB_SECOND_USD = Decimal("0.0000166667")
EPHEMERAL_GB_SECOND_USD = Decimal("0.0000000309")
FREE_REQUESTS = 1_000_000
FREE_GB_SECONDS = 400_000

_MB_MS_PER_GB_SECOND = 1024 * 1000
_SHOWN = Decimal("0.0000000001")


@dataclass(frozen=True, slots=True)
class Charge:
    """The parts of a price, in exact dollars."""

    requests: Decimal
    compute: Decimal
    ephemeral: Decimal

    @property
    def total(self) -> Decimal:
        return self.requests + self.compute + self.ephemeral


def billed_ms(duration_ms: float, init_ms: float = 0.0) -> int:
    """Return the billed milliseconds: init and duration together, rounded up."""
    # To the nanosecond first: 0.1 + 0.2 must not become a millisecond more.
    return max(0, math.ceil(round(duration_ms + init_ms, 6)))


def gb_seconds(mb_ms: int) -> Decimal:
    return Decimal(mb_ms) / _MB_MS_PER_GB_SECOND


def list_price(sums: UsageSums) -> Charge:
    """Return the price without the free tier."""
    return Charge(
        sums.requests * REQUEST_USD,
        gb_seconds(sums.billed_mb_ms) * GB_SECOND_USD,
        gb_seconds(sums.ephemeral_mb_ms) * EPHEMERAL_GB_SECOND_USD,
    )


def after_free_tier(month_total: UsageSums) -> Charge:
    """Return the price of an account's calendar month, after the free tier."""
    requests = max(0, month_total.requests - FREE_REQUESTS)
    compute = max(Decimal(0), gb_seconds(month_total.billed_mb_ms) - FREE_GB_SECONDS)
    return Charge(
        requests * REQUEST_USD, compute * GB_SECOND_USD, list_price(month_total).ephemeral
    )


def report(month: str, usages: Iterable[VersionUsage]) -> dict[str, Any]:
    """Describe a month for ``boda cost``, as JSON, with dollars as exact text of ten digits."""
    functions = by_function(usages)
    total = UsageSums()
    for sums in functions.values():
        total.add(sums)
    return {
        "Month": month,
        "Functions": [
            {"FunctionName": name, "Region": region, **_row(sums)}
            for (name, region), sums in functions.items()
        ],
        "Total": _row(total),
        "FreeTierRequests": FREE_REQUESTS,
        "FreeTierGbSeconds": float(FREE_GB_SECONDS),
        "AwsPriceUsd": usd(after_free_tier(total).total),
        "AwsPriceWithoutFreeTierUsd": usd(list_price(total).total),
    }


def usd(amount: Decimal) -> str:
    """Format dollars with two to ten decimals, without an exponent."""
    text = f"{amount.quantize(_SHOWN, ROUND_HALF_UP):f}".rstrip("0")
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction.ljust(2, '0')}"


def _row(sums: UsageSums) -> dict[str, Any]:
    return {
        "Requests": sums.requests,
        "Errors": sums.errors,
        "DurationMs": sums.duration_us / 1000,
        "BilledMs": sums.billed_ms,
        "GbSeconds": float(gb_seconds(sums.billed_mb_ms)),
        "AwsPriceWithoutFreeTierUsd": usd(list_price(sums).total),
    }

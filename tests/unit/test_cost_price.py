"""AWS's list price, to the last digit."""

from __future__ import annotations

from decimal import Decimal

import pytest

from boda.telemetry.cost import after_free_tier, billed_ms, list_price, report, usd
from boda.telemetry.metering import MeterBuffer, UsageSums, VersionUsage, month_bounds, month_of


def sums(requests: int, billed: int, memory_mb: int, ephemeral_mb: int = 512) -> UsageSums:
    """So many requests of so many billed milliseconds each."""
    total = requests * billed
    return UsageSums(
        requests=requests,
        billed_ms=total,
        billed_mb_ms=total * memory_mb,
        ephemeral_mb_ms=total * max(0, ephemeral_mb - 512),
    )


def test_aws_own_example_of_three_million_requests() -> None:
    # 3 M requests of 120 ms at 1,536 MB: 540,000 GB-seconds.
    month = sums(3_000_000, 120, 1536)
    charge = list_price(month)
    assert charge.requests == Decimal("0.60")
    assert charge.compute == 540_000 * Decimal("0.0000166667")
    free = after_free_tier(month)
    assert free.requests == Decimal("0.40")
    assert free.compute == 140_000 * Decimal("0.0000166667")
    assert free.total == Decimal("2.733338")


def test_within_the_free_tier_nothing_is_charged() -> None:
    assert after_free_tier(sums(1_000_000, 100, 1024)).total == 0
    assert after_free_tier(sums(1_000_001, 1, 128)).total == Decimal("0.0000002")


def test_ephemeral_storage_above_512_mb_costs_even_in_the_free_tier() -> None:
    # 10,240 MB for 1,000 s: 9.5 GB above what is free.
    month = sums(1, 1_000_000, 128, 10_240)
    assert after_free_tier(month).total == Decimal("9500") * Decimal("0.0000000309")


@pytest.mark.parametrize(
    ("duration", "init", "expected"),
    [
        (0, 0, 0),
        (0.1, 0, 1),
        (1.0, 0, 1),
        (1.0001, 0, 2),
        (1.23, 84.0, 86),
        # A float's noise makes no millisecond: 0.1 + 1.1 + … is not always what it seems.
        (0.1, 0.2, 1),
        (1.1, 2.2 - 0.3, 3),
        (-1, 0, 0),
    ],
)
def test_milliseconds_are_rounded_up_once(duration: float, init: float, expected: int) -> None:
    assert billed_ms(duration, init) == expected


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("2.5", "2.50"),
        ("0.0000002", "0.0000002"),
        ("1E+2", "100.00"),
        ("0.00000000005", "0.0000000001"),
        ("1234.56789", "1234.56789"),
    ],
)
def test_dollars_have_no_exponent(amount: str, text: str) -> None:
    assert usd(Decimal(amount)) == text


def test_the_report_adds_versions_and_takes_the_free_tier_off_once() -> None:
    half = sums(1_000_000, 200, 1024)
    report_ = report(
        "2026-01",
        [
            VersionUsage("us-east-1", "a", "$LATEST", half),
            VersionUsage("us-east-1", "a", "1", half),
            VersionUsage("eu-west-1", "a", "$LATEST", half),
        ],
    )
    assert [
        (one["FunctionName"], one["Region"], one["Requests"]) for one in report_["Functions"]
    ] == [
        ("a", "us-east-1", 2_000_000),
        ("a", "eu-west-1", 1_000_000),
    ]
    assert report_["Total"]["GbSeconds"] == 600_000
    assert report_["AwsPriceWithoutFreeTierUsd"] == "10.60002"
    assert report_["AwsPriceUsd"] == "3.73334"


def test_what_was_taken_and_waits_again_is_added_to_what_came_since() -> None:
    meters = MeterBuffer()
    key = ("0", "r", "f", "1", 0)
    meters.add({key: UsageSums(requests=1, max_memory_mb=40)})
    taken = meters.take()
    meters.add({key: UsageSums(requests=1, max_memory_mb=30)})
    meters.add(taken)
    ((_, total),) = meters.take().items()
    assert (total.requests, total.max_memory_mb) == (2, 40)
    assert meters.take() == {}


@pytest.mark.parametrize(
    ("month", "start", "end"),
    [
        ("1970-01", 0, 31 * 86400),
        ("2026-12", 1796083200, 1798761600),
        ("2024-02", 1706745600, 1709251200),
    ],
)
def test_months(month: str, start: int, end: int) -> None:
    assert month_bounds(month) == (start, end)
    assert month_of(start) == month
    assert month_of(end) != month


@pytest.mark.parametrize(
    "month", ["", "2026", "2026-13", "2026-00", "26-01", "2026-1", "0000-01", "x"]
)
def test_what_is_no_month(month: str) -> None:
    with pytest.raises(ValueError, match="YYYY-MM"):
        month_bounds(month)

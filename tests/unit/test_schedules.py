"""Schedule expressions: which are valid, and the times that they name.

A plain model walks the minutes of the UTC clock and looks at the wall; hypothesis compares.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boda.events.schedules.expression import Expression, parse, parse_rule

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def times(expression: Expression, moment: float, zone: str, count: int = 5) -> list[str]:
    """The next times, as the clock of the zone shows them."""
    found = []
    begin = moment
    for _ in range(count):
        following = expression.after(moment, ZoneInfo(zone), begin)
        if following is None:
            break
        shown = datetime.fromtimestamp(following, ZoneInfo(zone))
        found.append(shown.strftime("%Y-%m-%d %H:%M %z"))
        moment = following
    return found


@pytest.mark.parametrize(
    "text",
    [
        "cron(0 2 ? * SAT *)",
        "cron(0 12 * * ? *)",
        "cron(0/10 * ? * MON-FRI *)",
        "cron(0/15 * * * ? *)",
        "cron(0/30 0-2 ? * MON-FRI *)",
        "cron(0/5 8-17 ? * MON-FRI *)",
        "cron(* * ? * SAT#3 *)",
        "cron(0-15/1 8-8 1-31/30 * ? *)",
        "cron(*/15 20-2 ? NOV-FEB fri-mon 2026-2030/2)",
        "cron(0 9 LW * ? *)",
        "cron(0 9 15W 1,4,7,10 ? *)",
        "cron(0 9 ? * 6L *)",
        "rate(1 minute)",
        "rate(2 hours)",
        "rate(366 days)",
    ],
)
def test_valid_of_rules(text: str) -> None:
    parse_rule(text)
    parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "cron(0 1 * * * *)",
        "cron(0 1 ? * ? *)",
        "cron(0 12 1 * MON *)",
        "cron(0 dummy ? * MON-FRI *)",
        "cron(7 20 * * NOT *)",
        "cron(71 8 1 * ? *)",
        "cron(INVALID)",
        "cron()",
        "cron(0 24 * * ? *)",
        "cron(0 0 0 * ? *)",
        "cron(0 0 32 * ? *)",
        "cron(0 0 ? * 0 *)",
        "cron(0 0 ? * 8 *)",
        "cron(0 0 ? * MON#6 *)",
        "cron(0 0 ? * #2 *)",
        "cron(0 0 1 13 ? *)",
        "cron(0 0 1 1 ? 1969)",
        "cron(0 0 1 1 ? 2200)",
        "cron(0 0 1 1 ? 2030-2026)",
        "cron(0/0 0 1 1 ? *)",
        "cron(0/60 0 1 1 ? *)",
        "cron(-5 0 1 1 ? *)",
        "cron(5- 0 1 1 ? *)",
        "cron(1,,2 0 1 1 ? *)",
        "cron(0 0 W * ? *)",
        "cron(0 0 L-31 * ? *)",
        "cron(0 0 * * ?)",
        "cron(0 0 0 * * ? *)",
        "cron(٣ 0 * * ? *)",
        "Cron(0 0 * * ? *)",
        " cron(0 0 * * ? *)",
        "cron(0 0 * * ? *) ",
        "rate()",
        "rate(0 minutes)",
        "rate(-1 minutes)",
        "rate(10)",
        "rate(10 seconds)",
        "rate(10 minutess)",
        "rate( 10 minutes )",
        " rate(10 minutes)",
        "rate(10 minutes",
        "rate(1.5 hours)",
        "at(2021-12-31)",
        "at(2021-12-31T23:59:59Z)",
        "at(2021-02-30T00:00:00)",
        "",
        "0 12 * * ? *",
    ],
)
def test_invalid_for_both(text: str) -> None:
    for reader in (parse, parse_rule):
        with pytest.raises(ValueError):
            reader(text)


@pytest.mark.parametrize("text", ["rate(1 minutes)", "rate(5 minute)", "at(2030-01-01T00:00:00)"])
def test_invalid_for_rules_only(text: str) -> None:
    parse(text)
    with pytest.raises(ValueError):
        parse_rule(text)


def test_a_rate_is_counted_from_its_beginning() -> None:
    rate = parse("rate(1 day)")
    begin = at("2026-03-28 02:30", "Europe/Berlin")
    assert rate.after(begin - 1, UTC, begin) == begin
    assert rate.after(begin, UTC, begin) == begin + 86400
    assert rate.after(begin + 86400 * 3 + 5, UTC, begin) == begin + 86400 * 4


def test_one_time() -> None:
    once = parse("at(2026-07-01T08:00:00)")
    moment = at("2026-01-01 00:00")
    assert times(once, moment, "America/New_York") == ["2026-07-01 08:00 -0400"]
    assert once.after(at("2026-07-01 12:00"), ZoneInfo("America/New_York"), 0) is None


def test_one_time_that_the_clock_leaves_out_or_shows_twice() -> None:
    skipped, twice = parse("at(2026-03-29T02:30:00)"), parse("at(2026-10-25T02:30:00)")
    assert times(skipped, 0, "Europe/Berlin") == ["2026-03-29 03:30 +0200"]
    assert times(twice, 0, "Europe/Berlin") == ["2026-10-25 02:30 +0200"]


@pytest.mark.parametrize(
    ("text", "moment", "zone", "expected"),
    [
        (
            "cron(0 10 * * ? *)",
            "2026-11-30 09:00",
            "UTC",
            ["2026-11-30 10:00 +0000", "2026-12-01 10:00 +0000", "2026-12-02 10:00 +0000"],
        ),
        (
            "cron(0 18 ? * MON-FRI *)",
            "2026-11-27 18:00",  # a Friday
            "UTC",
            ["2026-11-30 18:00 +0000", "2026-12-01 18:00 +0000"],
        ),
        (
            "cron(0 8 1 * ? *)",
            "2026-12-15 00:00",
            "UTC",
            ["2027-01-01 08:00 +0000", "2027-02-01 08:00 +0000"],
        ),
        (
            "cron(30 2 * * ? *)",  # the clock leaves 2:30 out on the 29th of March
            "2026-03-28 00:00",
            "Europe/Berlin",
            ["2026-03-28 02:30 +0100", "2026-03-30 02:30 +0200"],
        ),
        (
            "cron(30 1 * * ? *)",  # 1:30 comes twice on the 1st of November
            "2026-10-31 12:00",
            "America/New_York",
            ["2026-11-01 01:30 -0400", "2026-11-02 01:30 -0500"],
        ),
        (
            "cron(0/30 * * * ? *)",
            "2026-10-25 01:30",
            "Europe/Berlin",
            [
                "2026-10-25 02:00 +0200",
                "2026-10-25 02:30 +0200",
                "2026-10-25 03:00 +0100",
            ],
        ),
        (
            "cron(0 9 L * ? *)",
            "2028-02-01 00:00",
            "UTC",
            ["2028-02-29 09:00 +0000", "2028-03-31 09:00 +0000"],
        ),
        (
            "cron(0 9 LW * ? *)",  # the 31st of January 2027 is a Sunday
            "2027-01-01 00:00",
            "UTC",
            ["2027-01-29 09:00 +0000", "2027-02-26 09:00 +0000"],
        ),
        (
            "cron(0 9 1W * ? *)",  # the 1st of August 2026 is a Saturday
            "2026-08-01 00:00",
            "UTC",
            ["2026-08-03 09:00 +0000", "2026-09-01 09:00 +0000"],
        ),
        (
            "cron(0 9 ? * 6L *)",  # the last Friday
            "2026-11-01 00:00",
            "UTC",
            ["2026-11-27 09:00 +0000", "2026-12-25 09:00 +0000"],
        ),
        (
            "cron(0 9 ? * MON#5 *)",
            "2026-11-01 00:00",
            "UTC",
            ["2026-11-30 09:00 +0000", "2027-03-29 09:00 +0000"],
        ),
        ("cron(0 0 30 2 ? *)", "2026-01-01 00:00", "UTC", []),
        ("cron(0 0 1 1 ? 2020)", "2026-01-01 00:00", "UTC", []),
        (
            "cron(0 0 29 2 ? *)",
            "2096-03-01 00:00",  # 2100 has none
            "UTC",
            ["2104-02-29 00:00 +0000"],
        ),
    ],
)
def test_times(text: str, moment: str, zone: str, expected: list[str]) -> None:
    found = times(parse(text), at(moment, zone), zone, max(1, len(expected)))
    assert found == expected


def test_a_cron_begins_no_earlier_than_asked() -> None:
    noon = parse("cron(0 12 * * ? *)")
    begin = at("2026-05-05 12:00")
    assert noon.after(at("2026-01-01 00:00"), UTC, begin) == begin


# The model: sets of numbers, and every minute looked at.

_FIELD = st.sampled_from(
    [
        ("*", lambda low, high: set(range(low, high + 1))),
        ("{low}", lambda low, high: {low}),
        ("{high}", lambda low, high: {high}),
        ("{low}-{mid}", lambda low, high: set(range(low, (low + high) // 2 + 1))),
        ("{mid}/3", lambda low, high: set(range((low + high) // 2, high + 1, 3))),
        ("*/2", lambda low, high: set(range(low, high + 1, 2))),
        ("{low},{high}", lambda low, high: {low, high}),
        ("{high}-{low}", lambda low, high: {low, high}),
    ]
)


def _minutes(begin: float, zone: ZoneInfo) -> Iterator[tuple[float, datetime]]:
    """The minutes of eight days whose place on the wall was not shown before."""
    shown: set[datetime] = set()
    first = datetime.fromtimestamp(begin, UTC)
    for back in range(180, 0, -1):  # what the wall showed before the beginning
        local = (first - timedelta(minutes=back)).astimezone(zone)
        shown.add(local.replace(tzinfo=None, fold=0))
    for step in range(8 * 24 * 60):
        moment = first + timedelta(minutes=step)
        local = moment.astimezone(zone).replace(tzinfo=None, fold=0)
        if local not in shown:
            shown.add(local)
            yield moment.timestamp(), local


@settings(max_examples=200, deadline=None)
@given(
    minute=_FIELD,
    hour=_FIELD,
    day=_FIELD,
    weekly=st.booleans(),
    zone=st.sampled_from(ZONES),
    month=st.sampled_from([(3, 6), (3, 27), (4, 3), (10, 2), (10, 22), (10, 30), (12, 28)]),
)
def test_the_next_five_times_agree_with_a_model(
    minute: tuple, hour: tuple, day: tuple, weekly: bool, zone: str, month: tuple[int, int]
) -> None:
    def written(field: tuple, low: int, high: int) -> tuple[str, set[int]]:
        text = field[0].format(low=low, high=high, mid=(low + high) // 2)
        return text, field[1](low, high)

    minutes, is_minute = written(minute, 0, 59)
    hours, is_hour = written(hour, 0, 23)
    days, is_day = written(day, 1, 7 if weekly else 31)
    place = f"? * {days}" if weekly else f"{days} * ?"
    expression = parse(f"cron({minutes} {hours} {place} *)")
    begin = datetime(2026, *month, tzinfo=UTC).timestamp()

    def due(local: datetime) -> bool:
        number = (calendar.weekday(*local.timetuple()[:3]) + 1) % 7 + 1 if weekly else local.day
        return local.minute in is_minute and local.hour in is_hour and number in is_day

    model = [moment for moment, local in _minutes(begin, ZoneInfo(zone)) if due(local)][:5]
    found, moment = [], begin - 1
    while len(found) < len(model):
        moment = expression.after(moment, ZoneInfo(zone), begin - 1)
        found.append(moment)
    assert found == model

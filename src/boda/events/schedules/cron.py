"""Cron expressions of AWS: minutes, hours, day of month, month, day of week, year.

Times are those of the wall clock in the schedule's time zone. A time that a change of clock leaves
out is skipped; one that comes twice counts once, the first time.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

_FIRST_YEAR, _LAST_YEAR = 1970, 2199
_MONTHS = {name.upper(): number for number, name in enumerate(calendar.month_abbr) if number}
_WEEKDAYS = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU"), 1)}
_WEEKDAYS |= {"FRI": 6, "SAT": 7}

DayRule = Callable[[date], bool]


@dataclass(frozen=True, slots=True)
class _Field:
    """The numbers that a field may have. steps: the largest one behind a slash."""

    name: str
    first: int
    last: int
    steps: int
    names: dict[str, int]
    wraps: bool = True

    def values(self, text: str) -> frozenset[int]:
        """Return the numbers that a list of values, ranges and steps stands for."""
        found: set[int] = set()
        for item in text.split(","):
            found.update(self._item(item))
        return frozenset(found)

    def number(self, text: str) -> int:
        value = self.names.get(text.upper())
        if value is None:
            if not re.fullmatch(r"[0-9]{1,4}", text):
                raise ValueError(f"{text!r} is no value of {self.name}")
            value = int(text)
        if not self.first <= value <= self.last:
            raise ValueError(f"{value} is out of the range of {self.name}")
        return value

    def _item(self, text: str) -> Iterator[int]:
        span, slash, step = text.partition("/")
        every = 1
        if slash:
            if not re.fullmatch(r"[0-9]{1,4}", step) or not 1 <= int(step) <= self.steps:
                raise ValueError(f"{step!r} is no step of {self.name}")
            every = int(step)
        begin, dash, end = span.partition("-")
        if span == "*":
            first, last = self.first, self.last
        elif dash:
            first, last = self.number(begin), self.number(end)
        else:
            first = self.number(span)
            last = self.last if slash else first
        if first > last:
            if not self.wraps:
                raise ValueError(f"{text!r} runs backwards")
            last += self.last - self.first + 1
        for value in range(first, last + 1, every):
            yield value if value <= self.last else value - (self.last - self.first + 1)


_MINUTES = _Field("minutes", 0, 59, 59, {})
_HOURS = _Field("hours", 0, 23, 23, {})
_DAYS = _Field("days of the month", 1, 31, 31, {})
_MONTH = _Field("months", 1, 12, 12, _MONTHS)
_WEEK = _Field("days of the week", 1, 7, 7, _WEEKDAYS)
_YEARS = _Field("years", _FIRST_YEAR, _LAST_YEAR, _LAST_YEAR - _FIRST_YEAR, {}, wraps=False)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression. minutes, hours: in ascending order. days: any of them picks a day."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[DayRule, ...]
    months: frozenset[int]
    years: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Read the six fields between the parentheses. Raises ValueError if they are not valid."""
        fields = text.split(" ")
        if len(fields) != 6:
            raise ValueError("there are not six fields")
        minutes, hours, day, month, week, year = fields
        if (day == "?") == (week == "?"):
            raise ValueError("one of the two fields of days, and only one, is a question mark")
        if week == "?":
            days = tuple(_of_month(item) for item in day.split(","))
        else:
            days = tuple(_of_week(item) for item in week.split(","))
        return cls(
            tuple(sorted(_MINUTES.values(minutes))),
            tuple(sorted(_HOURS.values(hours))),
            days,
            _MONTH.values(month),
            _YEARS.values(year),
        )

    def after(self, moment: float, zone: tzinfo, begin: float) -> float | None:
        """Return the first time behind a moment and not before ``begin``, None if there is none."""
        from_s = max(moment, begin - 1)
        local = datetime.fromtimestamp(from_s, zone).replace(tzinfo=None)
        for wall in self._walls(local):
            aware = wall.replace(tzinfo=zone)
            time = aware.timestamp()
            if time <= moment or time < begin:
                continue
            there = datetime.fromtimestamp(time, UTC).astimezone(zone).replace(tzinfo=None)
            if there == wall:  # the clock shows it
                return time
        return None

    def _walls(self, local: datetime) -> Iterator[datetime]:
        """Yield the times on the wall from a minute on, in order."""
        for day in self._dates(local.date()):
            today = day == local.date()
            for hour in self.hours:
                if today and hour < local.hour:
                    continue
                for minute in self.minutes:
                    if today and (hour, minute) < (local.hour, local.minute):
                        continue
                    yield datetime(day.year, day.month, day.day, hour, minute)

    def _dates(self, first: date) -> Iterator[date]:
        for year in range(max(first.year, _FIRST_YEAR), _LAST_YEAR + 1):
            if year not in self.years:
                continue
            for month in range(first.month if year == first.year else 1, 13):
                if month not in self.months:
                    continue
                for number in range(1, calendar.monthrange(year, month)[1] + 1):
                    day = date(year, month, number)
                    if day >= first and any(rule(day) for rule in self.days):
                        yield day


def _of_month(text: str) -> DayRule:
    """Read a day of the month: numbers, ``L``, ``L-3``, ``LW``, ``15W``."""
    upper = text.upper()
    if upper == "LW":
        return lambda day: day.day == _nearest_weekday(day, _length(day))
    if found := re.fullmatch(r"L(?:-([0-9]{1,2}))?", upper):
        back = int(found[1] or 0)
        if back > 30:
            raise ValueError(f"{text!r} lies before the month")
        return lambda day: day.day == _length(day) - back
    if upper.endswith("W"):
        wanted = _DAYS.number(text[:-1])
        return lambda day: wanted <= _length(day) and day.day == _nearest_weekday(day, wanted)
    numbers = _DAYS.values(text)
    return lambda day: day.day in numbers


def _of_week(text: str) -> DayRule:
    """Read a day of the week: numbers from Sunday, names, ``L``, ``5L``, ``MON#2``."""
    if "#" in text:
        name, _, nth = text.partition("#")
        weekday = _WEEK.number(name)
        if nth not in ("1", "2", "3", "4", "5"):
            raise ValueError(f"{nth!r} is no week of a month")
        place = int(nth)
        return lambda day: _weekday(day) == weekday and (day.day + 6) // 7 == place
    if text.upper() == "L":
        return lambda day: _weekday(day) == _WEEKDAYS["SAT"]
    if text[-1:].upper() == "L":
        last = _WEEK.number(text[:-1])
        return lambda day: _weekday(day) == last and day.day + 7 > _length(day)
    numbers = _WEEK.values(text)
    return lambda day: _weekday(day) in numbers


def _weekday(day: date) -> int:
    return day.isoweekday() % 7 + 1


def _length(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def _nearest_weekday(day: date, wanted: int) -> int:
    """Return the day from Monday to Friday that is nearest to a day, within its month."""
    weekday = day.replace(day=wanted).isoweekday()
    if weekday == 6:
        return wanted - 1 if wanted > 1 else wanted + 2
    if weekday == 7:
        return wanted + 1 if wanted < _length(day) else wanted - 2
    return wanted

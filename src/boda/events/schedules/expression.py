"""Expressions: ``rate(5 minutes)``, ``cron(0 12 ? * FRI *)``, ``at(2026-03-01T08:00:00)``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, tzinfo

from boda.events.schedules.cron import Cron

_UNITS_S = {"minute": 60, "hour": 3600, "day": 86400}
_RATE = re.compile(r"rate\(([1-9]\d{0,8}) (minute|hour|day)(s?)\)", re.ASCII)
_AT = re.compile(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)", re.ASCII)
_CRON = re.compile(r"cron\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class RateExpression:
    """Every ``interval_s`` seconds from a beginning on; a day is 24 hours on every day."""

    interval_s: int

    def after(self, moment: float, zone: tzinfo, begin: float) -> float | None:
        """Return the first time behind a moment, in epoch seconds. begin: the first of all."""
        if moment < begin:
            return begin
        passed = int((moment - begin) // self.interval_s)
        return begin + (passed + 1) * self.interval_s


@dataclass(frozen=True, slots=True)
class OneTimeExpression:
    """One time, by the clock of the schedule's time zone."""

    local: datetime

    def after(self, moment: float, zone: tzinfo, begin: float) -> float | None:
        """Return the time if it lies behind the moment, None otherwise.

        A time that a change of clock leaves out is taken by the offset before the change; of one
        that comes twice the first is meant.
        """
        time = self.local.replace(tzinfo=zone).timestamp()
        return time if time > moment else None


Expression = RateExpression | Cron | OneTimeExpression


def parse_rule(text: str) -> RateExpression | Cron:
    """Read the schedule of an EventBridge rule. Raises ValueError if it is not valid.

    A unit is in the singular exactly where the value is 1.
    """
    found = _RATE.fullmatch(text)
    if found is not None and (int(found[1]) == 1) == bool(found[3]):
        raise ValueError("the unit does not agree with the value")
    parsed = parse(text)
    if isinstance(parsed, OneTimeExpression):
        raise ValueError("a rule has no single time")
    return parsed


def parse(text: str) -> Expression:
    """Read a schedule of EventBridge Scheduler. Raises ValueError if it is not valid."""
    if (found := _RATE.fullmatch(text)) is not None:
        return RateExpression(int(found[1]) * _UNITS_S[found[2]])
    if (found := _AT.fullmatch(text)) is not None:
        return OneTimeExpression(datetime.fromisoformat(found[1]))
    if (found := _CRON.fullmatch(text)) is not None:
        return Cron.parse(found[1])
    raise ValueError("neither rate, cron nor at")

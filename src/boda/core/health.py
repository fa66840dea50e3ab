"""The faults that keep the platform from working as it should, and the sentence for each.

``/_boda/health``, ``boda doctor`` and the log use the same sentences. A fault is reported here,
from any thread; reading touches memory only.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

Reason = Literal["disk", "database", "damage", "queue", "drops", "memory"]

_log = logging.getLogger(__name__)

_WORDS: Final[Mapping[Reason, str]] = {
    "disk": "the disk refuses writes ({}); free some space, reads go on meanwhile",
    "database": "the database refuses writes ({}); reads go on meanwhile",
    "damage": "something stored is damaged ({}); `boda check` names all of it",
    "queue": "asynchronous events wait to be run ({})",
    "drops": "something was dropped ({})",
    "memory": "the machine is short of memory ({})",
}
DROPS_LAST_S = 300.0
"""Seconds after the last drop for which the platform counts as degraded."""


def sentence(reason: Reason, detail: str) -> str:
    """Return a reason for people; it begins with its name, for programs."""
    return f"{reason}: {_WORDS[reason].format(detail)}"


def log_damage(sentence: str) -> None:
    """Log that stored data is damaged. sentence: the thing and its damage."""
    _log.error("damaged: %s", sentence)


class _Fault(NamedTuple):
    detail: str
    until_s: float


class Health:
    """The platform's state: ``ok``, or ``degraded`` with reasons.

    monotonic: seconds. tell: called with one line when a fault begins and when it ends, from the
    reporting thread.
    """

    def __init__(self, monotonic: Callable[[], float], tell: Callable[[str], object]) -> None:
        self._monotonic = monotonic
        self._tell = tell
        self._faults: dict[Reason, _Fault] = {}
        self._dropped: dict[str, int] = {}

    def report(self, reason: Reason, detail: str, lasts_s: float = math.inf) -> None:
        """Record a fault, until ``clear`` or for so many seconds. Safe to repeat."""
        begins = reason not in self._faults
        self._faults[reason] = _Fault(detail, self._monotonic() + lasts_s)
        if begins:
            self._tell(f"degraded: {sentence(reason, detail)}")

    def clear(self, reason: Reason) -> None:
        """End a fault, if it was reported."""
        fault = self._faults.pop(reason, None)
        if fault is not None:
            self._tell(f"no longer degraded: {reason}")

    def dropped(self, what: str, count: int = 1) -> None:
        """Record that data was dropped. what: in the plural, such as ``log events``."""
        self._dropped[what] = self._dropped.get(what, 0) + count
        detail = ", ".join(f"{many} {name}" for name, many in list(self._dropped.items()))
        self.report("drops", detail, DROPS_LAST_S)

    def lapse(self) -> None:
        """End the faults whose time is over. Called every few seconds."""
        now_s = self._monotonic()
        for reason, fault in list(self._faults.items()):
            if fault.until_s <= now_s:
                if reason == "drops":
                    self._dropped.clear()
                self.clear(reason)

    def has(self, reason: Reason) -> bool:
        return reason in self._faults

    @property
    def reasons(self) -> list[str]:
        return [sentence(reason, fault.detail) for reason, fault in list(self._faults.items())]

    def members(self) -> dict[str, Any]:
        """Return ``status`` and ``reasons``, as ``/_boda/health`` answers them."""
        reasons = self.reasons
        return {"status": "degraded" if reasons else "ok", "reasons": reasons}

"""Unit tests take none of the machine's time: time enters by constructor, on a clock of the test's.

Whoever waits for another thread or a process waits for what that does, and not for time to pass.
"""

from __future__ import annotations

import contextlib
import selectors
import sys
import time
from collections.abc import Generator, Iterator
from typing import Any
from unittest.mock import patch

import pytest

BOUND_S = 0.05
"""So long a test may sleep in all, and as long its set-up and its teardown."""


class Slept:
    """Adds up what ``time.sleep`` and the timers of event loops took. s: seconds."""

    def __init__(self) -> None:
        self.s = 0.0
        self._sleep = time.sleep
        self._select = selectors.EpollSelector.select

    def sleep(self, seconds: float) -> None:
        if sys._getframe(1).f_globals["__name__"] != "subprocess":  # it looks whether it has ended
            self.s += seconds
        self._sleep(seconds)

    def select(self, selector: Any, timeout: float | None) -> list[Any]:
        ready = self._select(selector, timeout)
        if not ready and timeout is not None and timeout > 0:  # what it waited for was a timer
            self.s += timeout
        return ready


@contextlib.contextmanager
def no_sleep() -> Iterator[None]:
    """Fail whoever sleeps for longer than ``BOUND_S``."""
    slept = Slept()

    def select(selector: Any, timeout: float | None = None) -> list[Any]:
        return slept.select(selector, timeout)

    with patch("time.sleep", slept.sleep), patch("selectors.EpollSelector.select", select):
        yield
    if slept.s > BOUND_S:
        pytest.fail(
            f"A unit test slept for {slept.s:.2f} s of real time. Give what it tests a ManualClock "
            "(boda.core.clock) and advance that; or move the test to the room it belongs in.",
            pytrace=False,
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    with no_sleep():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    with no_sleep():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, Any, Any]:
    with no_sleep():
        return (yield)

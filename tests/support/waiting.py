"""Waiting for what a real boda does in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def eventually(check: Callable[[], Any], timeout_s: float) -> Any:
    """What the check gives, once that is anything. AssertionError where it never is."""
    end = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)
    return found

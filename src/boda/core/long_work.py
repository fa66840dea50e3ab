"""Long computations beside the event loop.

A thread that computes keeps the interpreter for a switch interval (5 ms) before it yields to the
event loop, and the loop asks for it after each system call, so that answers take several times as
long. While such work runs the interval is short; otherwise it stays long, which is faster for
threads that hand over to each other, as the writer and its callers do.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_SHORT_S = 0.0005


class _Interval:
    """The interpreter's switch interval, of which there is one in each process."""

    def __init__(self) -> None:
        self._running = 0
        self._usual_s = 0.0

    def __enter__(self) -> None:
        if not self._running:
            self._usual_s = sys.getswitchinterval()
            sys.setswitchinterval(_SHORT_S)
        self._running += 1

    def __exit__(self, *_: object) -> None:
        self._running -= 1
        if not self._running:
            sys.setswitchinterval(self._usual_s)


_INTERVAL = _Interval()


async def beside(work: Callable[..., T], *args: object) -> T:
    """Run ``work`` in a thread and return its result; call on the event loop only.

    If the caller is cancelled the work goes on, with the usual interval.
    """
    with _INTERVAL:
        return await asyncio.to_thread(work, *args)

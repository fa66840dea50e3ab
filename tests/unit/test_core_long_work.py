"""Work beside the event loop lets the loop have the interpreter often, while it runs."""

from __future__ import annotations

import asyncio
import sys
import threading

from boda.core.long_work import beside


async def test_the_interval_is_short_while_work_runs() -> None:
    usual = sys.getswitchinterval()
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def work(number: int) -> int:
        begun.release()
        go_on.wait(10)
        return number

    both = [asyncio.create_task(beside(work, number)) for number in (1, 2)]
    for _ in both:
        await asyncio.to_thread(begun.acquire, timeout=10)
    assert sys.getswitchinterval() < usual / 2
    go_on.set()
    assert await asyncio.gather(*both) == [1, 2]
    assert sys.getswitchinterval() == usual

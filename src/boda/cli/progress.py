"""A bar on the terminal for what takes long."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that is called with a step's name, the bytes done and the bytes to do.

    A bar for each step is shown on standard error if that is a terminal, and nothing otherwise.
    """
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console  # late: most commands show no bar
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<9}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        steps = {}

        def moved(step: str, done: int, whole: int) -> None:
            if step not in steps:
                steps[step] = bars.add_task(step)
            bars.update(steps[step], completed=done, total=whole)

        yield moved

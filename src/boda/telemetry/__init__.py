"""Logs, metrics and metering. Appending never waits; writing happens in batches elsewhere.

build(rows, clock, …) -> Recorder: the room, ready for ``await recorder.start()``.
metadata: the tables of this room, for the database that is opened before.
"""

from __future__ import annotations

from collections.abc import Callable

from boda.core.clock import Clock
from boda.storage.rows import Rows
from boda.telemetry.recorder import Recorder
from boda.telemetry.tables import metadata

__all__ = ["Recorder", "build", "metadata"]


def build(rows: Rows, clock: Clock, why_no_room: Callable[[], str] = lambda: "") -> Recorder:
    """why_no_room: why the disk has no room for logs, or ""; may block."""
    return Recorder(rows, clock, why_no_room)

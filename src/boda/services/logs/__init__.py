"""CloudWatch Logs over telemetry's store.

Functions' own output does not pass through here: the platform appends it to telemetry directly.
AWS delivers it only when the function's role has ``logs:CreateLogStream`` and
``logs:PutLogEvents``; boda writes it regardless, so that nobody debugs without a log.
"""

from __future__ import annotations

from boda.core.clock import Clock
from boda.core.ids import Ids
from boda.gateway.calling.service import Service
from boda.services.logs.access import CONDITION_KEYS
from boda.services.logs.dialect import DIALECT
from boda.services.logs.events import Events
from boda.services.logs.groups import Groups
from boda.services.logs.live_tail import LiveTail
from boda.services.logs.streams import Streams
from boda.telemetry.recorder import Recorder

__all__ = ["DIALECT", "build"]


def build(recorder: Recorder, clock: Clock, ids: Ids) -> Service:
    return Service(
        "logs",
        [
            Groups(recorder.logs),
            Streams(recorder.logs),
            Events(recorder, clock),
            LiveTail(recorder, clock, ids),
        ],
        condition_keys=CONDITION_KEYS,
    )

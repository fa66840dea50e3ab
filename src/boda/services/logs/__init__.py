"""CloudWatch Logs over telemetry's store.

Functions' own output does not pass through here: the platform appends it to telemetry directly. AWS
delivers it only if the function's role has ``logs:CreateLogStream`` and ``logs:PutLogEvents``; boda
writes it in any case, so that the error of a missing permission can be read.
"""

from __future__ import annotations

from boda.gateway.calling.paging import Paging
from boda.gateway.calling.service import Service
from boda.plug import Host, Plug, Running
from boda.services.logs.access import CONDITION_KEYS
from boda.services.logs.dialect import DIALECT
from boda.services.logs.event_tokens import refused_token
from boda.services.logs.live_tail import LiveTail
from boda.services.logs.log_events import LogEventOperations
from boda.services.logs.log_groups import LogGroupOperations
from boda.services.logs.streams import Streams

__all__ = ["PLUG"]


def build(host: Host) -> Running:
    recorder = host.telemetry
    groups = [
        LogGroupOperations(recorder.logs),
        Streams(recorder.logs),
        LogEventOperations(recorder, host.clock),
        LiveTail(recorder, host.clock, host.ids),
    ]
    paging = Paging(refused_token, size=50)
    return Running(Service("logs", groups, condition_keys=CONDITION_KEYS, paging=paging))


PLUG = Plug("logs", build, dialect=DIALECT)

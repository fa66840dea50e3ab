"""Lines of the queue in a function's own log, about events whose caller has left."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from boda.runtime.function import FunctionVersion
from boda.telemetry.contract import Telemetry


def say(
    telemetry: Telemetry, version: FunctionVersion, now_s: float, kind: str, line: Mapping[str, Any]
) -> None:
    """Log one line of JSON, in the day's stream for lines of this kind."""
    stream = f"{datetime.fromtimestamp(now_s, UTC):%Y/%m/%d}/[{version.version}]{kind}"
    message = orjson.dumps(line).decode()
    telemetry.log(version.log_stream(stream), [(int(now_s * 1000), message)])

"""What the queue says in a function's own log, where nobody else can be told."""

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
    """Log one line of JSON, in a day's stream for what is of this kind."""
    stream = f"{datetime.fromtimestamp(now_s, UTC):%Y/%m/%d}/[{version.version}]{kind}"
    message = orjson.dumps(line).decode()
    telemetry.log(version.log_stream(stream), [(int(now_s * 1000), message)])

"""What an invocation leaves in metering and metrics (namespace ``AWS/Lambda``)."""

from __future__ import annotations

from boda.runtime.call import Call, Outcome
from boda.telemetry.contract import Metered, Telemetry

NAMESPACE = "AWS/Lambda"


def record(telemetry: Telemetry, call: Call, outcome: Outcome, at: float) -> None:
    """at: epoch seconds of the invoke, under which errors count as well."""
    version = call.version
    failed = outcome.function_error != ""
    telemetry.meter(
        Metered(
            version.account,
            version.region,
            version.name,
            version.version,
            call.request_id,
            at,
            version.memory_mb,
            version.ephemeral_mb,
            outcome.duration_ms,
            outcome.init_ms or 0.0,
            outcome.billed_ms,
            failed,
            outcome.max_memory_mb,
        )
    )
    for dimensions in _dimensions(call):
        metric(telemetry, call, "Invocations", 1.0, dimensions)
        metric(telemetry, call, "Errors", 1.0 if failed else 0.0, dimensions)
        metric(telemetry, call, "Duration", outcome.duration_ms, dimensions, "Milliseconds")


def metric(
    telemetry: Telemetry,
    call: Call,
    name: str,
    value: float,
    dimensions: dict[str, str] | None = None,
    unit: str = "Count",
) -> None:
    """One value, by function unless told otherwise."""
    version = call.version
    telemetry.metric(
        version.account,
        version.region,
        NAMESPACE,
        name,
        value,
        dimensions or {"FunctionName": version.name},
        unit,
    )


def _dimensions(call: Call) -> list[dict[str, str]]:
    """By function, and by what the caller named where that was a version or an alias."""
    name = call.version.name
    found = [{"FunctionName": name}]
    qualifier = call.invoked_arn.rpartition(":")[2]
    if call.invoked_arn.count(":") == 7:
        found.append({"FunctionName": name, "Resource": f"{name}:{qualifier}"})
    return found

"""Records as AWS answers them, every default echoed. Pure.

Field presence follows the recordings: what was never configured is absent, not empty.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from boda.services.lambda_.records import Settings, Standing, Version
from boda.services.lambda_.runtimes import version_arn


def configuration(version: Version, *, qualifier: str | None = None) -> dict[str, Any]:
    """A FunctionConfiguration. qualifier: appended to the ARN where the caller gave one."""
    answer = summary(version, qualifier=qualifier)
    answer |= _standing(version.state, "State", "StateReason", "StateReasonCode")
    answer |= _standing(
        version.update, "LastUpdateStatus", "LastUpdateStatusReason", "LastUpdateStatusReasonCode"
    )
    answer["RuntimeVersionConfig"] = {
        "RuntimeVersionArn": version_arn(
            version.region, version.settings.runtime, version.settings.architecture
        )
    }
    return answer


def summary(version: Version, *, qualifier: str | None = None) -> dict[str, Any]:
    """The part of it that ListFunctions gives: without state and runtime version."""
    settings = version.settings
    answer: dict[str, Any] = {
        "FunctionName": version.name,
        "FunctionArn": version.arn if qualifier is None else f"{version.arn}:{qualifier}",
        "Runtime": settings.runtime,
        "Role": settings.role,
        "Handler": settings.handler,
        "CodeSize": version.code_bytes,
        "Description": settings.description,
        "Timeout": settings.timeout_s,
        "MemorySize": settings.memory_mb,
        "LastModified": timestamp(version.modified_at),
        "CodeSha256": code_sha256(version.code_sha256),
        "Version": version.version,
        "TracingConfig": {"Mode": settings.tracing},
        "RevisionId": version.revision_id,
        "PackageType": "Zip",
        "Architectures": [settings.architecture],
        "EphemeralStorage": {"Size": settings.ephemeral_mb},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": _logging(settings, version.log_group),
    }
    if settings.environment is not None:
        answer["Environment"] = {"Variables": dict(settings.environment)}
    if settings.dead_letter_arn:
        answer["DeadLetterConfig"] = {"TargetArn": settings.dead_letter_arn}
    if settings.empty_vpc:
        answer["VpcConfig"] = {
            "SubnetIds": [],
            "SecurityGroupIds": [],
            "VpcId": "",
            "Ipv6AllowedForDualStack": False,
        }
    return answer


def timestamp(at: float) -> str:
    """``2026-01-01T00:00:00.000+0000``."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


def code_sha256(hexadecimal: str) -> str:
    """As AWS shows digests: base64."""
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode("ascii")


def _logging(settings: Settings, group: str) -> dict[str, str]:
    answer = {"LogFormat": settings.log_format, "LogGroup": group}
    if settings.application_level:
        answer["ApplicationLogLevel"] = settings.application_level
    if settings.system_level:
        answer["SystemLogLevel"] = settings.system_level
    return answer


def _standing(standing: Standing, state: str, reason: str, code: str) -> dict[str, str]:
    if not standing.state:
        return {}
    answer = {state: standing.state}
    if standing.reason:
        answer[reason] = standing.reason
    if standing.code:
        answer[code] = standing.code
    return answer

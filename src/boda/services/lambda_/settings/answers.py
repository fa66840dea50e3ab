"""Records in the form of AWS's answers, every default echoed. Pure.

Presence of members follows the recordings: a setting that was never configured is absent, not
empty.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from boda.runtime.function import runtime_arn
from boda.services.lambda_.records import FunctionSettings, ReasonedState, Version
from boda.services.lambda_.settings import runtimes


def configuration(
    version: Version, runnable: Callable[[str], bool], *, qualifier: str | None = None
) -> dict[str, Any]:
    """Return a FunctionConfiguration.

    runnable: whether this machine has the runtime; if not, the answer explains the remedy.
    qualifier: appended to the ARN if the caller gave one.
    """
    answer = summary(version, qualifier=qualifier)
    answer |= _standing(version.state, "State", "StateReason", "StateReasonCode")
    answer |= _standing(
        version.update, "LastUpdateStatus", "LastUpdateStatusReason", "LastUpdateStatusReasonCode"
    )
    settings = version.settings
    if settings.runtime:
        arn = runtime_arn(version.region, settings.runtime, settings.architecture)
        answer["RuntimeVersionConfig"] = {"RuntimeVersionArn": arn}
        if not runnable(settings.runtime):
            absent = runtimes.absent_here(settings.runtime)
            answer["RuntimeVersionConfig"]["Error"] = {
                "ErrorCode": absent.code,
                "Message": absent.message,
            }
    return answer


def summary(version: Version, *, qualifier: str | None = None) -> dict[str, Any]:
    """Return the part of it that ListFunctions gives: without state and runtime version."""
    settings = version.settings
    answer: dict[str, Any] = {
        "FunctionName": version.name,
        "FunctionArn": version.arn if qualifier is None else f"{version.arn}:{qualifier}",
        "Role": settings.role,
        "CodeSize": version.code_bytes,
        "Description": settings.description,
        "Timeout": settings.timeout_s,
        "MemorySize": settings.memory_mb,
        "LastModified": timestamp(version.modified_at),
        "CodeSha256": code_sha256(version),
        "Version": version.version,
        "TracingConfig": {"Mode": settings.tracing},
        "RevisionId": version.revision_id,
        "PackageType": "Image" if settings.image_uri else "Zip",
        "Architectures": [settings.architecture],
        "EphemeralStorage": {"Size": settings.ephemeral_mb},
        "SnapStart": {
            "ApplyOn": settings.snap_start,
            "OptimizationStatus": "On" if version.snapshot else "Off",
        },
        "LoggingConfig": _logging(settings, version.log_group),
    }
    for name, value in _configured(version).items():
        if value:
            answer[name] = value
    if settings.environment is not None:
        answer["Environment"] = {"Variables": dict(settings.environment)}
    return answer


def _configured(version: Version) -> dict[str, Any]:
    """Return the members that are absent unless configured; empty values mean absent."""
    settings = version.settings
    return {
        "Runtime": settings.runtime,
        "Handler": settings.handler,
        "DeadLetterConfig": _if(settings.dead_letter_arn, "TargetArn"),
        "VpcConfig": settings.vpc and _vpc(version),
        "KMSKeyArn": settings.kms_key_arn,
        "Layers": [{"Arn": layer.arn, "CodeSize": layer.code_bytes} for layer in settings.layers],
        "FileSystemConfigs": [dict(system) for system in settings.file_systems],
        "ImageConfigResponse": _if(settings.image_config, "ImageConfig"),
        "TenancyConfig": _if(settings.tenancy, "TenantIsolationMode"),
    }


def code(version: Version, location: str) -> dict[str, Any]:
    """Return the location of the code. location: of the package; an image has its own address."""
    settings = version.settings
    if settings.image_uri:
        repository = settings.image_uri.partition("@")[0]
        head, slash, last = repository.rpartition("/")
        return {
            "RepositoryType": "ECR",
            "ImageUri": settings.image_uri,
            "ResolvedImageUri": f"{head}{slash}{last.partition(':')[0]}@sha256:"
            + version.code_sha256,
        }
    answer = {"RepositoryType": "S3", "Location": location}
    return answer | _if(settings.source_kms_key_arn, "SourceKMSKeyArn")


def _if(value: Any, name: str) -> dict[str, Any]:
    return {name: value} if value else {}


def vpc_id(account: str, region: str) -> str:
    """Return the VPC of every subnet of an account in a region: there is no EC2 here to ask."""
    seed = f"{account}/{region}".encode()
    return f"vpc-{hashlib.sha256(seed).hexdigest()[:17]}"


def _vpc(version: Version) -> dict[str, Any]:
    """Return the VPC config as AWS echoes it."""
    given = version.settings.vpc or {}
    subnets = list(given.get("SubnetIds") or [])
    return {
        "SubnetIds": subnets,
        "SecurityGroupIds": list(given.get("SecurityGroupIds") or []),
        "VpcId": vpc_id(version.account, version.region) if subnets else "",
        "Ipv6AllowedForDualStack": bool(given.get("Ipv6AllowedForDualStack")),
    }


def timestamp(at: float) -> str:
    """Format as ``2026-01-01T00:00:00.000+0000``."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


def code_sha256(version: Version) -> str:
    """Return CodeSha256: a package's in base64, of an image the digest in its address."""
    if version.settings.image_uri:
        return version.code_sha256
    return digest(version.code_sha256)


def digest(hexadecimal: str) -> str:
    """Return a package's digest in base64, as AWS shows it."""
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode("ascii")


def _logging(settings: FunctionSettings, group: str) -> dict[str, str]:
    answer = {"LogFormat": settings.log_format, "LogGroup": group}
    if settings.application_level:
        answer["ApplicationLogLevel"] = settings.application_level
    if settings.system_level:
        answer["SystemLogLevel"] = settings.system_level
    return answer


def _standing(standing: ReasonedState, state: str, reason: str, code: str) -> dict[str, str]:
    if not standing.state:
        return {}
    answer = {state: standing.state}
    if standing.reason:
        answer[reason] = standing.reason
    if standing.code:
        answer[code] = standing.code
    return answer

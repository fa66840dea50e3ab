"""From a request's parameters to settings: defaults, merging and all refusals. Pure.

Parameters have the model's own member names inside (``{"Variables": {...}}``), already of the right
type and shape.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import orjson

from boda.core.arn import Arn
from boda.core.errors import not_implemented
from boda.core.tags import TagRules
from boda.services.lambda_.errors import constraint, invalid
from boda.services.lambda_.quotas import Quotas
from boda.services.lambda_.records import FunctionSettings
from boda.services.lambda_.settings import runtimes

RESERVED_VARIABLES = frozenset(
    {
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_LAMBDA_RUNTIME_API",
        "LAMBDA_TASK_ROOT",
        "LAMBDA_RUNTIME_DIR",
        "AWS_LAMBDA_MAX_CONCURRENCY",
        "AWS_LAMBDA_METADATA_API",
        "AWS_LAMBDA_METADATA_TOKEN",
    }
)


_SNAP_START = re.compile(r"(java(?!8)|python|dotnet(?!6)).*")
"""AWS offers it for Python from 3.12 on; here every Python can be forked."""
_SMALL_MB = 512
"""The largest /tmp with SnapStart."""


def check_source(operation: str, code: Mapping[str, Any], image: bool) -> None:
    """Raises AwsError if a FunctionCode is not for this kind of function, or missing.

    image: whether the function is one of an image.
    """
    doing = "creating" if operation == "CreateFunction" else "updating"
    if image and not code.get("ImageUri"):
        raise invalid(f"Please provide ImageUri when {doing} a function with packageType Image.")
    if not image and code.get("ImageUri"):
        raise invalid(
            f"Please don't provide ImageUri when {doing} a function with packageType Zip."
        )
    if image and any(code.get(name) is not None for name in ("ZipFile", "S3Bucket", "S3Key")):
        raise invalid(
            "Please do not provide other FunctionCode parameters when providing an ImageUri."
        )
    if code.get("S3ObjectStorageMode") not in (None, "COPY"):
        raise not_implemented("lambda", operation, "S3ObjectStorageMode")


def create(params: Mapping[str, Any], quotas: Quotas) -> FunctionSettings:
    """Return the settings of a new function. Raises AwsError."""
    if not params.get("ImageUri") and not (params.get("Runtime") and params.get("Handler")):
        raise invalid(
            "Runtime and Handler are mandatory parameters for functions created with deployment "
            "packages."
        )
    base = FunctionSettings(
        params["Role"], params.get("Runtime") or "", params.get("Handler") or ""
    )
    return merge(base, params, quotas)


def merge(base: FunctionSettings, params: Mapping[str, Any], quotas: Quotas) -> FunctionSettings:
    """Return the settings with the request's put over them. Raises AwsError."""
    changes: dict[str, Any] = {}
    for name, member in _SIMPLE.items():
        if params.get(name) is not None:
            changes[member] = params[name]
    if params.get("Runtime") is not None:
        runtimes.check(params["Runtime"])
    _at_most(changes.get("timeout_s"), "timeout", quotas.timeout_s)
    _at_most(changes.get("memory_mb"), "memorySize", quotas.memory_mb)
    storage = params.get("EphemeralStorage")
    if storage is not None:
        _at_most(storage["Size"], "ephemeralStorage.size", quotas.ephemeral_mb)
        changes["ephemeral_mb"] = storage["Size"]
    if params.get("Environment") is not None:
        changes["environment"] = environment(params["Environment"].get("Variables") or {}, quotas)
    if params.get("Architectures"):
        changes["architecture"] = params["Architectures"][0]
    if params.get("TracingConfig") is not None:
        changes["tracing"] = params["TracingConfig"].get("Mode") or "PassThrough"
    if params.get("VpcConfig") is not None:
        changes["vpc"] = dict(params["VpcConfig"])
    if params.get("FileSystemConfigs") is not None:
        changes["file_systems"] = [dict(system) for system in params["FileSystemConfigs"]]
    if params.get("ImageConfig") is not None:  # replaced as a whole; an empty one removes
        changes["image_config"] = dict(params["ImageConfig"]) or None
    if params.get("SnapStart") is not None:
        changes["snap_start"] = params["SnapStart"].get("ApplyOn") or "None"
    if params.get("TenancyConfig") is not None:
        changes["tenancy"] = params["TenancyConfig"]["TenantIsolationMode"]
    target = (params.get("DeadLetterConfig") or {}).get("TargetArn")
    if target is not None:  # an empty structure changes nothing, an empty ARN removes (recorded)
        changes["dead_letter_arn"] = dead_letter(target)
    if params.get("LoggingConfig") is not None:
        changes |= logging(base, params["LoggingConfig"])
    merged = dataclasses.replace(base, **changes)
    _check_kind(merged)
    _check_network(merged)
    if merged.snap_start != "None":
        _check_snap_start(merged)
    return merged


def check_together(settings: FunctionSettings, unzipped_bytes: int, quotas: Quotas) -> None:
    """Raises AwsError if code and layers together are too large."""
    actual = unzipped_bytes + sum(layer.unzipped_bytes for layer in settings.layers)
    if settings.layers and actual > quotas.unzipped_bytes:
        raise invalid(
            "Function code combined with layers exceeds the maximum allowed size of "
            f"{quotas.unzipped_bytes} bytes. The actual size is {actual} bytes."
        )


def _check_kind(settings: FunctionSettings) -> None:
    """Refuse a runtime for a function of an image, and an image for one of a package."""
    if settings.image_uri and (settings.runtime or settings.handler or settings.layers):
        raise invalid(
            "Please don't provide Handler or Runtime or Layer when the intended function "
            "PackageType is Image."
        )
    if not settings.image_uri and settings.image_config is not None:
        raise invalid(
            "Please don't provide ImageConfig when the intended function PackageType is Zip."
        )


def _check_network(settings: FunctionSettings) -> None:
    """Check only the form of subnets and security groups: there is no EC2 here to ask."""
    vpc = settings.vpc or {}
    if bool(vpc.get("SubnetIds")) != bool(vpc.get("SecurityGroupIds")):
        raise invalid("SubnetIds and SecurityIds must coexist or be both empty list.")
    if settings.file_systems and not vpc.get("SubnetIds"):
        raise invalid(
            "Function must be configured to execute in a VPC to reference access point "
            f"{settings.file_systems[0]['Arn']}."
        )


def _check_snap_start(settings: FunctionSettings) -> None:
    """Refuse settings that SnapStart excludes. Source: Lambda developer guide, "snapstart"."""
    unfit = ""
    if settings.image_uri:
        unfit = "ContainerImage"
    elif not _SNAP_START.fullmatch(settings.runtime):
        unfit = settings.runtime
    elif settings.file_systems:
        unfit = "FileSystemConfigs"
    elif settings.ephemeral_mb > _SMALL_MB:
        unfit = f"EphemeralStorage larger than {_SMALL_MB} MB"
    elif settings.tenancy:
        unfit = "TenancyConfig"
    if unfit:
        raise invalid(f"{unfit} is not supported for SnapStart enabled functions.")


def environment(variables: Mapping[str, str], quotas: Quotas) -> dict[str, str]:
    """Return the variables, validated. Raises AwsError."""
    reserved = sorted(RESERVED_VARIABLES & variables.keys())
    if reserved:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment "
            "variables you have provided contains reserved keys that are currently not supported "
            f"for modification. Reserved keys used in this request: {', '.join(reserved)}"
        )
    for name, value in variables.items():
        if "\0" in value:
            raise invalid(
                "Lambda was unable to configure your environment variables because the value of "
                f"{name} contains a null character."
            )
    try:
        measured = orjson.dumps(dict(variables))
    except orjson.JSONEncodeError:
        raise invalid(
            "Lambda was unable to configure your environment variables because they are not "
            "valid Unicode."
        ) from None
    if len(measured) > quotas.environment_bytes:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment "
            "variables you have provided exceeded the 4KB limit. String measured: "
            + measured.decode()
        )
    return dict(variables)


def dead_letter(target: str) -> str:
    """Return the ARN of a dead-letter queue or topic, validated; "" for none. Raises AwsError."""
    if not target:
        return ""
    try:
        arn = Arn.parse(target)
    except ValueError:
        arn = None
    if arn is None or arn.service not in ("sqs", "sns"):
        raise invalid(
            f"The provided dead-letter target {target} is not an Amazon SQS queue or an Amazon "
            "SNS topic."
        )
    if arn.resource.endswith(".fifo"):
        raise invalid(
            "Standard queues and topics only: FIFO dead-letter targets are not supported."
        )
    return target


def logging(base: FunctionSettings, wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return changes to the log settings. Levels belong to the JSON format alone. Raises
    AwsError."""
    kind = wanted.get("LogFormat") or base.log_format
    changes = {"log_format": kind}
    if wanted.get("LogGroup"):
        changes["log_group"] = wanted["LogGroup"]
    levels = {
        "application_level": wanted.get("ApplicationLogLevel"),
        "system_level": wanted.get("SystemLogLevel"),
    }
    if kind == "Text":
        if any(levels.values()):
            raise invalid(
                "ApplicationLogLevel and SystemLogLevel are only supported when LogFormat is JSON."
            )
        return changes | {"application_level": "", "system_level": ""}
    for name, level in levels.items():
        changes[name] = level or getattr(base, name) or "INFO"
    return changes


def tag_rules(quotas: Quotas) -> TagRules:
    """Return the rules for tags of functions, event source mappings and code signing configs."""
    return TagRules(
        reserved=lambda _key, _value: invalid(
            "Tag keys starting with 'aws:' are reserved for AWS use."
        ),
        too_many=lambda: invalid("Number of tags exceeds resource tag limit."),
        limit=quotas.tags,
    )


def tags(given: Mapping[str, str] | None, quotas: Quotas) -> dict[str, str]:
    """Return the tags of a new resource. Raises AwsError."""
    return tag_rules(quotas).read((given or {}).items())


def _at_most(value: int | None, path: str, limit: int) -> None:
    """Enforce the standard limit if the model's is that of Managed Instances."""
    if value is not None and value > limit:
        raise constraint(value, path, f"Member must have value less than or equal to {limit}")


_SIMPLE = {
    "Runtime": "runtime",
    "Role": "role",
    "Handler": "handler",
    "Description": "description",
    "Timeout": "timeout_s",
    "MemorySize": "memory_mb",
    "KMSKeyArn": "kms_key_arn",
    "SourceKMSKeyArn": "source_kms_key_arn",
    "ImageUri": "image_uri",
    "Layers": "layers",
}

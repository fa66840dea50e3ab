"""The triggers of a deployed function: its URL, and new objects in buckets."""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from boda.cli.client import ServiceAddress
from boda.core.arn import DEFAULT_REGION, Arn, bucket_arn
from boda.core.errors import PlatformError

_EVENTS = ["s3:ObjectCreated:*"]
# As AWS's own tools name them. Both are needed for a public URL.
_PUBLIC: dict[str, dict[str, Any]] = {
    "FunctionURLAllowPublicAccess": {
        "Action": "lambda:InvokeFunctionUrl",
        "FunctionUrlAuthType": "NONE",
    },
    "FunctionURLInvokeAllowPublicAccess": {
        "Action": "lambda:InvokeFunction",
        "InvokedViaFunctionUrl": True,
    },
}


@dataclass(frozen=True, slots=True)
class BucketTrigger:
    """Objects of a bucket, by the prefix and the suffix of their keys."""

    bucket: str
    prefix: str
    suffix: str

    @property
    def statement(self) -> str:
        """The id of the permission that lets the bucket call the function."""
        return f"boda-s3-{self.bucket.replace('.', '_')}"

    def __str__(self) -> str:
        star = f"*{self.suffix}" if self.suffix else ""
        return f"s3://{self.bucket}/{self.prefix}{star}"


def read_source(text: str) -> BucketTrigger:
    """Parse ``s3://bucket``, ``s3://bucket/prefix``, ``s3://bucket/prefix*suffix``. Raises
    PlatformError."""
    scheme, found, rest = text.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3" or not found or not bucket or key.count("*") > 1:
        raise PlatformError(
            f"--on takes s3://BUCKET/PREFIX, perhaps with one * before a suffix, not {text!r}."
        )
    prefix, _, suffix = key.partition("*")
    return BucketTrigger(bucket, prefix, suffix)


def ensure_bucket(connection: ServiceAddress, s3: Any, bucket: str) -> bool:
    """Make the bucket if there is none. Return whether it was made."""
    try:
        s3.head_bucket(Bucket=bucket)
    except s3.exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
    else:
        return False
    place = {"LocationConstraint": connection.region}
    where = {} if connection.region == DEFAULT_REGION else {"CreateBucketConfiguration": place}
    s3.create_bucket(Bucket=bucket, **where)
    return True


def call_on_objects(connection: ServiceAddress, name: str, arn: str, source: BucketTrigger) -> bool:
    """Configure the bucket to call the function for each new object. Return whether the bucket was
    made. The rest of the bucket's configuration stays."""
    s3, client = connection.client("s3"), connection.client("lambda")
    made = ensure_bucket(connection, s3, source.bucket)
    with contextlib.suppress(client.exceptions.ResourceConflictException):  # of an earlier one
        client.add_permission(
            FunctionName=name,
            StatementId=source.statement,
            Action="lambda:InvokeFunction",
            Principal="s3.amazonaws.com",
            SourceArn=bucket_arn(source.bucket),
            SourceAccount=Arn.parse(arn).account,
        )
    rules = [
        {"Name": kind, "Value": value}
        for kind, value in (("prefix", source.prefix), ("suffix", source.suffix))
        if value
    ]
    entry: dict[str, Any] = {
        "Id": f"boda-{name}-{hashlib.sha256(str(source).encode()).hexdigest()[:8]}",
        "LambdaFunctionArn": arn,
        "Events": _EVENTS,
    }
    if rules:
        entry["Filter"] = {"Key": {"FilterRules": rules}}
    whole = notifications(s3, source.bucket)
    present = whole.get("LambdaFunctionConfigurations", [])
    if not any(_alike(one, entry) for one in present):
        others = [one for one in present if one.get("Id") != entry["Id"]]
        whole["LambdaFunctionConfigurations"] = [*others, entry]
        s3.put_bucket_notification_configuration(
            Bucket=source.bucket, NotificationConfiguration=whole
        )
    return made


def notifications(s3: Any, bucket: str) -> dict[str, Any]:
    found: dict[str, Any] = s3.get_bucket_notification_configuration(Bucket=bucket)
    found.pop("ResponseMetadata", None)
    return found


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two configurations call the same function for the same objects."""

    def meaning(entry: dict[str, Any]) -> tuple[Any, ...]:
        rules = entry.get("Filter", {}).get("Key", {}).get("FilterRules", [])
        found = sorted((rule["Name"].lower(), rule["Value"]) for rule in rules)
        return entry["LambdaFunctionArn"], sorted(entry["Events"]), found

    return meaning(one) == meaning(other)


def stop_calls(connection: ServiceAddress, name: str, arn: str) -> list[str]:
    """Remove the function from the notifications of the buckets that may call it.

    Return those buckets. Missing buckets and those of others are left alone.
    """
    client, s3 = connection.client("lambda"), connection.client("s3")
    try:
        policy = json.loads(client.get_policy(FunctionName=name)["Policy"])
    except client.exceptions.ResourceNotFoundException:
        return []
    changed = []
    for bucket in sorted(_buckets(policy)):
        try:
            whole = notifications(s3, bucket)
            entries = whole.get("LambdaFunctionConfigurations", [])
            kept = [one for one in entries if not _names(one["LambdaFunctionArn"], arn)]
            if len(kept) == len(entries):
                continue
            whole["LambdaFunctionConfigurations"] = kept
            s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=whole)
        except s3.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (403, 404):
                raise
        else:
            changed.append(bucket)
    return changed


def _names(found: str, arn: str) -> bool:
    """Return whether an ARN is the function's, with a qualifier or without."""
    return found == arn or found.startswith(f"{arn}:")


def _buckets(policy: dict[str, Any]) -> set[str]:
    """Return the buckets that a function's policy allows to call it."""
    found = set()
    for statement in policy.get("Statement", ()):
        for operator in statement.get("Condition", {}).values():
            for key, value in operator.items():
                source = Arn.read(value) if isinstance(value, str) else None
                if key.lower() == "aws:sourcearn" and source is not None and source.service == "s3":
                    found.add(source.resource)
    return found


def ensure_url(client: Any, name: str, auth: str | None) -> str:
    """Give the function a URL if it has none; return it.

    auth: ``NONE`` or ``AWS_IAM``; None keeps a URL's, and is ``NONE`` for a new one.
    """
    try:
        found = client.get_function_url_config(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        auth = auth or "NONE"
        found = client.create_function_url_config(FunctionName=name, AuthType=auth)
    if auth is not None and found["AuthType"] != auth:
        found = client.update_function_url_config(FunctionName=name, AuthType=auth)
    if auth is not None:
        _set_public(client, name, found["AuthType"] == "NONE")
    return str(found["FunctionUrl"])


def _set_public(client: Any, name: str, public: bool) -> None:
    for statement, permission in _PUBLIC.items():
        try:
            if public:
                client.add_permission(
                    FunctionName=name, StatementId=statement, Principal="*", **permission
                )
            else:
                client.remove_permission(FunctionName=name, StatementId=statement)
        except (
            client.exceptions.ResourceConflictException,
            client.exceptions.ResourceNotFoundException,
        ):
            pass  # it is as it should be

"""A data folder with something of everything that is kept: made, and read back, through the API.

``make`` fills a running boda, ``read`` returns what it answers about all that, without anything
that differs between two starts of one folder. Both work on every version since the first folder
that is kept in tests/fixtures/folders.
"""

from __future__ import annotations

import hashlib
import io
import json
import sqlite3
import tarfile
import time
import urllib.request
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.host import TRUST, Boda, package
from botocore.exceptions import ClientError

SOURCE = "def lambda_handler(event, context):\n    print('did', event)\n    return event\n"
FAILING = "def lambda_handler(event, context):\n    raise RuntimeError(event['number'])\n"
WAITING = "waiting"
"""A function that has failed on its events, which wait for their second attempt."""
PENDING = ("one", "two", "three")
"""The values of ``number`` in its events."""
_QUEUE = "arn:aws:sqs:us-east-1:000000000000:jobs"
_OTHER_REGION = "eu-west-1"
_VOLATILE = {
    # Differs with the machine and its runtimes, the platform's port, or the moment.
    "ResponseMetadata",
    "Location",
    "RuntimeVersionConfig",
    "nextForwardToken",
    "nextBackwardToken",
    "AllocatedProvisionedConcurrentExecutions",
    "AvailableProvisionedConcurrentExecutions",
    "StatusReason",
    "storedBytes",
}


def statement(*actions: str, **more: Any) -> str:
    made = {"Effect": "Allow", "Action": list(actions), "Resource": "*", **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [made]})


def make(boda: Boda) -> dict[str, str]:
    """Fill a boda that has just been made; return the key pair of a user that it has now."""
    key = _identities(boda)
    _buckets(boda)
    _functions(boda)
    _log_groups(boda)
    aws = boda.client("lambda")
    for number in PENDING:
        payload = json.dumps({"number": number}).encode()
        aws.invoke(FunctionName=WAITING, InvocationType="Event", Payload=payload)
    until = time.monotonic() + 30
    while len(said(boda, WAITING, "RuntimeError")) < len(PENDING):
        assert time.monotonic() < until
        time.sleep(0.1)
    return key


def said(boda: Boda, function: str, text: str) -> list[str]:
    """The lines of a function's log that have a text."""
    try:
        found = boda.client("logs").filter_log_events(
            logGroupName=f"/aws/lambda/{function}", filterPattern=f'"{text}"'
        )
    except ClientError:
        return []
    return [each["message"] for each in found["events"]]


def _identities(boda: Boda) -> dict[str, str]:
    iam = boda.client("iam")
    policy = iam.create_policy(
        PolicyName="reader",
        Path="/team/",
        Description="May read",
        PolicyDocument=statement("s3:Get*"),
        Tags=[{"Key": "team", "Value": "blue"}],
    )["Policy"]["Arn"]
    iam.create_policy_version(
        PolicyArn=policy, PolicyDocument=statement("s3:Get*", "s3:List*"), SetAsDefault=True
    )
    iam.create_user(
        UserName="ann",
        Path="/people/",
        PermissionsBoundary="arn:aws:iam::aws:policy/PowerUserAccess",
        Tags=[{"Key": "colour", "Value": "grün"}],
    )
    iam.put_user_policy(
        UserName="ann", PolicyName="own", PolicyDocument=statement("lambda:List*", "s3:*")
    )
    iam.attach_user_policy(UserName="ann", PolicyArn=policy)
    iam.create_group(GroupName="readers")
    iam.put_group_policy(GroupName="readers", PolicyName="logs", PolicyDocument=statement("logs:*"))
    iam.attach_group_policy(
        GroupName="readers", PolicyArn="arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    )
    iam.add_user_to_group(GroupName="readers", UserName="ann")
    iam.create_role(
        RoleName="worker",
        Path="/service/",
        Description="Runs functions",
        MaxSessionDuration=7200,
        AssumeRolePolicyDocument=TRUST,
        Tags=[{"Key": "team", "Value": "blue"}],
    )
    iam.put_role_policy(RoleName="worker", PolicyName="all", PolicyDocument=statement("*"))
    iam.attach_role_policy(RoleName="worker", PolicyArn=policy)
    boda.role()
    boda.client("sts").get_session_token(DurationSeconds=129_600)
    made = iam.create_access_key(UserName="ann")["AccessKey"]
    return {"key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}


def _buckets(boda: Boda) -> None:
    s3 = boda.client("s3")
    s3.create_bucket(
        Bucket="elsewhere", CreateBucketConfiguration={"LocationConstraint": _OTHER_REGION}
    )
    s3.put_object(Bucket="elsewhere", Key="gone", Body=b"to be deleted" * 40_000)
    s3.delete_object(Bucket="elsewhere", Key="gone")
    s3.create_bucket(Bucket="kept")
    s3.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket="kept", Tagging={"TagSet": [{"Key": "cost", "Value": "7"}]})
    s3.put_bucket_cors(
        Bucket="kept",
        CORSConfiguration={
            "CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://a.example"]}]
        },
    )
    s3.put_bucket_policy(
        Bucket="kept",
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": {
                    "Effect": "Allow",
                    "Principal": {"AWS": "arn:aws:iam::000000000000:user/people/ann"},
                    "Action": "s3:GetObject",
                    "Resource": "arn:aws:s3:::kept/*",
                },
            }
        ),
    )
    for body in (b"first", b"second"):
        s3.put_object(
            Bucket="kept",
            Key="in a row/ä",
            Body=body,
            ContentType="text/plain",
            Metadata={"who": "ann"},
            Tagging="a=1&b=2",
        )
    s3.put_object(Bucket="kept", Key="in a blob", Body=b"0123456789abcdef" * 20_000,
                  ChecksumAlgorithm="SHA256")  # fmt: skip
    s3.put_object(Bucket="kept", Key="deleted", Body=b"still there, below its marker")
    s3.delete_object(Bucket="kept", Key="deleted")
    where = {"Bucket": "kept", "Key": "in parts"}
    upload = s3.create_multipart_upload(**where)["UploadId"]
    parts = []
    for number, body in ((1, bytes(5 << 20)), (2, b"the end")):
        done = s3.upload_part(**where, UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": done["ETag"]})
    s3.complete_multipart_upload(**where, UploadId=upload, MultipartUpload={"Parts": parts})
    where = {"Bucket": "kept", "Key": "under way"}
    upload = s3.create_multipart_upload(**where, Metadata={"who": "bob"})["UploadId"]
    s3.upload_part(**where, UploadId=upload, PartNumber=3, Body=b"xyz" * 60_000)


def _functions(boda: Boda) -> None:
    aws = boda.client("lambda")
    role = "arn:aws:iam::000000000000:role/service/worker"
    layers = [
        aws.publish_layer_version(
            LayerName="library",
            Description=f"Number {number}",
            Content={"ZipFile": package(f"NUMBER = {number}\n", "python/numbered")},
            CompatibleRuntimes=["python3.12", "python3.13"],
            LicenseInfo="MIT",
        )["LayerVersionArn"]
        for number in (1, 2)
    ]
    aws.add_layer_version_permission(
        LayerName="library",
        VersionNumber=2,
        StatementId="all",
        Action="lambda:GetLayerVersion",
        Principal="*",
    )
    boda.function(
        "kept",
        SOURCE,
        Role=role,
        Description="Is kept",
        Environment={"Variables": {"STAGE": "production", "WORD": "grün"}},
        Layers=layers[1:],
        MemorySize=256,
        Timeout=20,
        Tags={"team": "blue"},
        Publish=True,
        TracingConfig={"Mode": "Active"},
        EphemeralStorage={"Size": 600},
        DeadLetterConfig={"TargetArn": _QUEUE},
        LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "INFO"},
    )
    aws.update_function_code(
        FunctionName="kept", ZipFile=package(SOURCE.replace("did", "has done")), Publish=True
    )
    aws.get_waiter("function_updated_v2").wait(FunctionName="kept")
    aws.create_alias(
        FunctionName="kept",
        Name="live",
        FunctionVersion="2",
        Description="What customers call",
        RoutingConfig={"AdditionalVersionWeights": {"1": 0.25}},
    )
    aws.add_permission(
        FunctionName="kept",
        Qualifier="live",
        StatementId="bucket",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        SourceArn="arn:aws:s3:::kept",
        SourceAccount="000000000000",
    )
    aws.create_function_url_config(
        FunctionName="kept",
        Qualifier="live",
        AuthType="AWS_IAM",
        Cors={"AllowOrigins": ["https://a.example"], "MaxAge": 60},
    )
    aws.put_function_event_invoke_config(
        FunctionName="kept",
        Qualifier="live",
        MaximumRetryAttempts=1,
        MaximumEventAgeInSeconds=3600,
        DestinationConfig={"OnFailure": {"Destination": _QUEUE}},
    )
    aws.put_function_recursion_config(FunctionName="kept", RecursiveLoop="Allow")
    signing = aws.create_code_signing_config(
        Description="Ours",
        AllowedPublishers={
            "SigningProfileVersionArns": [
                "arn:aws:signer:us-east-1:000000000000:/signing-profiles/ours/0123456789"
            ]
        },
        CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Warn"},
    )["CodeSigningConfig"]["CodeSigningConfigArn"]
    aws.put_function_code_signing_config(FunctionName="kept", CodeSigningConfigArn=signing)
    aws.create_event_source_mapping(
        FunctionName="kept",
        EventSourceArn=_QUEUE,
        BatchSize=7,
        Enabled=False,
        FilterCriteria={"Filters": [{"Pattern": '{"body": {"a": [1]}}'}]},
    )
    # A deleted function, whose versions' numbers do not come again.
    boda.function("deleted", SOURCE, Role=role, Publish=True)
    aws.delete_function(FunctionName="deleted")
    aws.put_provisioned_concurrency_config(
        FunctionName="kept", Qualifier="2", ProvisionedConcurrentExecutions=1
    )
    boda.function(WAITING, FAILING, Role=role, MemorySize=128, Timeout=10)
    aws.put_function_concurrency(FunctionName=WAITING, ReservedConcurrentExecutions=7)
    s3 = boda.client("s3")
    s3.put_bucket_notification_configuration(
        Bucket="kept",
        NotificationConfiguration={
            "LambdaFunctionConfigurations": [
                {
                    "Id": "to the function",
                    "LambdaFunctionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
                    "Events": ["s3:ObjectCreated:*"],
                    "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "new/"}]}},
                }
                for name in ("kept:live",)
            ]
        },
    )


def _log_groups(boda: Boda) -> None:
    logs = boda.client("logs")
    logs.create_log_group(logGroupName="/of/ours", tags={"team": "blue"})
    logs.create_log_group(logGroupName="/of/others")
    logs.delete_log_group(logGroupName="/of/others")
    logs.put_retention_policy(logGroupName="/of/ours", retentionInDays=3653)
    logs.create_log_stream(logGroupName="/of/ours", logStreamName="empty")
    logs.create_log_stream(logGroupName="/of/ours", logStreamName="full")
    begin_ms = int(time.time() * 1000)
    logs.put_log_events(
        logGroupName="/of/ours",
        logStreamName="full",
        logEvents=[
            {"timestamp": begin_ms + number, "message": f"line {number} of many, für alle"}
            for number in range(500)
        ],
    )


def read(boda: Boda, month: str) -> dict[str, Any]:
    """Return every answer about what ``make`` made, as JSON has it. month: it was made in."""
    found: dict[str, Any] = {}

    def ask(client: Any, operation: str, name: str = "", **params: Any) -> Any:
        try:
            answer = getattr(client, operation)(**params)
        except ClientError as error:
            answer = {"Error": error.response["Error"]["Code"]}
        key = " ".join((operation, *(str(each) for each in params.values())))
        found[f"{name}{key}"] = plain(answer, boda)
        return answer

    _read_identities(boda, ask)
    _read_buckets(boda, ask)
    _read_functions(boda, ask, found)
    _read_logs(boda, ask)
    ask(boda.client("boda"), "get_cost", Month=month)
    return json.loads(json.dumps(found, default=str))


Ask = Callable[..., Any]


def _read_identities(boda: Boda, ask: Ask) -> None:
    iam = boda.client("iam")
    for operation in ("list_users", "list_groups", "list_roles", "get_account_summary"):
        ask(iam, operation)
    ask(iam, "list_policies", Scope="Local")
    arn = "arn:aws:iam::000000000000:policy/team/reader"
    ask(iam, "get_policy", PolicyArn=arn)
    ask(iam, "list_policy_versions", PolicyArn=arn)
    for version in ("v1", "v2"):
        ask(iam, "get_policy_version", PolicyArn=arn, VersionId=version)
    for kind, name in (("user", "ann"), ("group", "readers"), ("role", "worker")):
        named = {f"{kind.title()}Name": name}
        ask(iam, f"get_{kind}", **named)
        ask(iam, f"list_attached_{kind}_policies", **named)
        for policy in ask(iam, f"list_{kind}_policies", **named)["PolicyNames"]:
            ask(iam, f"get_{kind}_policy", **named, PolicyName=policy)
    ask(iam, "list_access_keys", UserName="ann")
    ask(iam, "list_groups_for_user", UserName="ann")


def _read_buckets(boda: Boda, ask: Ask) -> None:
    s3 = boda.client("s3")
    ask(s3, "list_buckets")
    for bucket in ("kept", "elsewhere"):
        for operation in (
            *("get_bucket_location", "get_bucket_versioning", "get_bucket_tagging"),
            *("get_bucket_cors", "get_bucket_policy", "get_bucket_acl", "get_bucket_encryption"),
            *("get_bucket_ownership_controls", "get_public_access_block", "list_objects_v2"),
            *("get_bucket_notification_configuration", "list_multipart_uploads"),
        ):
            ask(s3, operation, Bucket=bucket)
        listed = ask(s3, "list_object_versions", Bucket=bucket)
        for version in listed.get("Versions", []):
            which = {"Bucket": bucket, "Key": version["Key"], "VersionId": version["VersionId"]}
            ask(s3, "get_object", **which)
            ask(s3, "head_object", **which, ChecksumMode="ENABLED")
            ask(s3, "get_object_tagging", **which)
            ask(s3, "get_object_attributes", **which, ObjectAttributes=["ETag", "ObjectParts"])
    for upload in s3.list_multipart_uploads(Bucket="kept")["Uploads"]:
        ask(s3, "list_parts", Bucket="kept", Key=upload["Key"], UploadId=upload["UploadId"])


def _read_functions(boda: Boda, ask: Ask, found: dict[str, Any]) -> None:
    aws = boda.client("lambda")
    for operation in (
        *("get_account_settings", "list_layers", "list_event_source_mappings"),
        "list_code_signing_configs",
    ):
        ask(aws, operation)
    ask(aws, "list_functions", FunctionVersion="ALL")
    for mapping in aws.list_event_source_mappings()["EventSourceMappings"]:
        ask(aws, "get_event_source_mapping", UUID=mapping["UUID"])
    for layer in ask(aws, "list_layer_versions", LayerName="library")["LayerVersions"]:
        which = {"LayerName": "library", "VersionNumber": layer["Version"]}
        answer = ask(aws, "get_layer_version", **which)
        found[f"package of layer {layer['Version']}"] = _files(answer["Content"]["Location"])
        ask(aws, "get_layer_version_policy", **which)
    for name in ("kept", WAITING):
        named = {"FunctionName": name}
        for operation in (
            *("get_function_concurrency", "list_aliases", "list_function_url_configs"),
            *("list_function_event_invoke_configs", "get_function_code_signing_config"),
            *("get_function_recursion_config", "list_provisioned_concurrency_configs"),
        ):
            ask(aws, operation, **named)
        for version in aws.list_versions_by_function(**named)["Versions"]:
            which = {**named, "Qualifier": version["Version"]}
            answer = ask(aws, "get_function", **which)
            found[f"package of {name} {version['Version']}"] = _files(answer["Code"]["Location"])
            ask(aws, "get_policy", **which)
    ask(aws, "get_policy", FunctionName="kept", Qualifier="live")
    ask(aws, "get_function", FunctionName="deleted")


def _read_logs(boda: Boda, ask: Ask) -> None:
    logs = boda.client("logs")
    ask(logs, "describe_log_groups")
    ask(logs, "list_tags_log_group", logGroupName="/of/ours")
    for group in ("/of/ours", f"/aws/lambda/{WAITING}"):
        _read_group(logs, ask, logGroupName=group)


def _read_group(logs: Any, ask: Ask, **named: Any) -> None:
    for stream in ask(logs, "describe_log_streams", **named)["logStreams"]:
        ask(logs, "get_log_events", **named, logStreamName=stream["logStreamName"],
            startFromHead=True)  # fmt: skip
    ask(logs, "filter_log_events", **named, filterPattern='?"line 4" ?RuntimeError')


def plain(value: Any, boda: Boda) -> Any:
    """An answer without what differs between two starts; of a body its digest."""
    if isinstance(value, dict):
        left_out = _VOLATILE
        if "RequestedProvisionedConcurrentExecutions" in value:
            left_out = left_out | {"Status"}
        return {key: plain(one, boda) for key, one in value.items() if key not in left_out}
    if isinstance(value, list):
        return [plain(one, boda) for one in value]
    if isinstance(value, str):
        return value.replace(f":{boda.port}", ":<port>")
    if hasattr(value, "read"):
        content = value.read()
        return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return value


def _files(location: str) -> dict[str, str]:
    """The files of the package that an address leads to."""
    with urllib.request.urlopen(location, timeout=30) as answer:
        archive = zipfile.ZipFile(io.BytesIO(answer.read()))
    return {name: archive.read(name).decode() for name in archive.namelist()}


def unpacked(archive: Path, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Unpack a folder that is kept; return its path, and what is known about it."""
    with tarfile.open(archive) as packed:
        if hasattr(tarfile, "tar_filter"):  # absent before Python 3.11.4
            packed.extraction_filter = tarfile.tar_filter
        packed.extractall(folder)
    data = folder / "data"
    about: dict[str, Any] = json.loads((data / "kept.json").read_text())
    (data / "kept.json").unlink()
    return data, about


def opened(archive: Path, folder: Path) -> tuple[Boda, dict[str, Any]]:
    """Unpack a folder, in which no time has passed; return a boda for it."""
    data, about = unpacked(archive, folder)
    boda = Boda(data)
    pass_time(boda, about, 0)
    return boda, about


def pass_time(boda: Boda, about: dict[str, Any], seconds: float) -> None:
    """Let the queue's time be so long after the folder was made, while its boda is stopped."""
    with closing(sqlite3.connect(boda.folder / "boda.db", isolation_level=None)) as database:
        ahead = about["made_at"] + seconds - time.time()
        database.execute("UPDATE async_time SET boot = '', ahead = ?", (ahead,))


def losses(before: Any, now: Any, place: str = "") -> list[str]:
    """Where an answer lacks something of an earlier one; members that are new are none."""
    if isinstance(before, dict) and isinstance(now, dict):
        found = [f"{place}/{key}: absent" for key in before.keys() - now.keys()]
        for key in before.keys() & now.keys():
            found += losses(before[key], now[key], f"{place}/{key}")
        return found
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for at, (old, new) in pairs for line in losses(old, new, f"{place}/{at}")]
    return [] if before == now else [f"{place}: {now!r} instead of {before!r}"]

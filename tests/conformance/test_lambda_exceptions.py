"""Every exception of the model: provoked, or listed with the reason why nobody can provoke it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from boda.core.errors import AwsError
from boda.fleet.refusals import restore_failed, restore_timed_out, too_many
from boda.fleet.template import SnapshotFailed
from boda.fleet.templates import not_regenerated
from boda.gateway.calling.models import Models
from boda.gateway.calling.operation import Context
from boda.invoke.call import Outcome
from boda.services import lambda_
from boda.services.lambda_ import rows
from support.dialects import DIALECTS
from support.lambda_world import ROLE, World, package, world

F = "arn:aws:lambda:us-east-1:000000000000:function:f"
CSC = "arn:aws:lambda:us-east-1:000000000000:code-signing-config:csc-" + "0" * 17
QUEUE = "arn:aws:sqs:us-east-1:000000000000:queue"

Provoke = Callable[[World], Awaitable[AwsError]]
PROVOKED: dict[str, Provoke] = {}


def provokes(name: str) -> Callable[[Provoke], Provoke]:
    def mark(function: Provoke) -> Provoke:
        PROVOKED[name] = function
        return function

    return mark


@provokes("CodeSigningConfigNotFoundException")
async def _(here: World) -> AwsError:
    return await here.error(
        "PutFunctionCodeSigningConfig", FunctionName="f", CodeSigningConfigArn=CSC
    )


@provokes("CodeStorageExceededException")
async def _(here: World) -> AwsError:
    code = {"ZipFile": package({"app.py": "x" * 20_000})}
    return await here.error("UpdateFunctionCode", FunctionName="f", **code)


@provokes("CodeVerificationFailedException")
async def _(here: World) -> AwsError:
    publishers = {"SigningProfileVersionArns": [QUEUE]}
    policy = {"UntrustedArtifactOnDeployment": "Enforce"}
    made = await here.call(
        "CreateCodeSigningConfig", AllowedPublishers=publishers, CodeSigningPolicies=policy
    )
    arn = made["CodeSigningConfig"]["CodeSigningConfigArn"]
    await here.call("PutFunctionCodeSigningConfig", FunctionName="f", CodeSigningConfigArn=arn)
    return await here.error("UpdateFunctionCode", FunctionName="f", ZipFile=package())


@provokes("EFSMountFailureException")
async def _(here: World) -> AwsError:
    where = "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-" + "0" * 17
    mounts = [{"Arn": where, "LocalMountPath": "/mnt/a"}]
    vpc = {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    await here.create("mounted", FileSystemConfigs=mounts, VpcConfig=vpc)
    return await here.error("Invoke", FunctionName="mounted")


@provokes("InvalidParameterValueException")
async def _(here: World) -> AwsError:
    return await here.error("UpdateFunctionConfiguration", FunctionName="f:1")


@provokes("InvalidRequestContentException")
async def _(here: World) -> AwsError:
    return await here.error("Invoke", FunctionName="f", Payload=b"{")


@provokes("InvalidRuntimeException")
async def _(here: World) -> AwsError:
    await here.create("ruby", Runtime="ruby3.4")
    return await here.error("Invoke", FunctionName="ruby")


@provokes("PolicyLengthExceededException")
async def _(here: World) -> AwsError:
    add = {"FunctionName": "f", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"}
    for number in range(3):
        arn = "arn:aws:s3:::" + "b" * 6000
        await here.call("AddPermission", StatementId=str(number), SourceArn=arn, **add)
    return await here.error("AddPermission", StatementId="4", SourceArn=arn, **add)


@provokes("PreconditionFailedException")
async def _(here: World) -> AwsError:
    return await here.error("UpdateFunctionConfiguration", FunctionName="f", RevisionId="old")


@provokes("ProvisionedConcurrencyConfigNotFoundException")
async def _(here: World) -> AwsError:
    return await here.error("GetProvisionedConcurrencyConfig", FunctionName="f", Qualifier="1")


@provokes("RecursiveInvocationException")
async def _(here: World) -> AwsError:
    headers = {"x-amzn-trace-id": "Root=1-00000000-0123456789abcdef01234567;Lineage=16:a:0"}
    operation = here.service.service.operations["Invoke"]
    ctx = _context(here, headers)
    with pytest.raises(AwsError) as caught:
        await operation.run(ctx, function_name="f")
    return caught.value


@provokes("RequestTooLargeException")
async def _(here: World) -> AwsError:
    payload = b'"' + b"x" * 2_000_000 + b'"'
    return await here.error("Invoke", FunctionName="f", InvocationType="Event", Payload=payload)


@provokes("ResourceConflictException")
async def _(here: World) -> AwsError:
    return await here.error(
        "CreateFunction",
        FunctionName="f",
        Role=ROLE,
        Runtime="python3.12",
        Handler="app.handler",
        Code={"ZipFile": package()},
    )


@provokes("ResourceInUseException")
async def _(here: World) -> AwsError:
    made = await here.call("CreateEventSourceMapping", FunctionName="f", EventSourceArn=QUEUE)
    return await here.error("DeleteEventSourceMapping", UUID=made["UUID"])


@provokes("ResourceNotFoundException")
async def _(here: World) -> AwsError:
    return await here.error("GetFunction", FunctionName="missing")


@provokes("SnapStartNotReadyException")
async def _(here: World) -> AwsError:
    await here.create("snapped", SnapStart={"ApplyOn": "PublishedVersions"})
    await here.call("PublishVersion", FunctionName="snapped")
    return await here.error("Invoke", FunctionName="snapped:1")


def _raises(here: World, error: AwsError) -> None:
    """The invoke path answers every call with it."""

    def respond(call: Any) -> Outcome:
        raise error

    here.invoker.respond = respond


@provokes("SnapStartException")
async def _(here: World) -> AwsError:
    _raises(here, restore_failed())
    return await here.error("Invoke", FunctionName="f")


@provokes("SnapStartTimeoutException")
async def _(here: World) -> AwsError:
    _raises(here, restore_timed_out())
    return await here.error("Invoke", FunctionName="f")


@provokes("SnapStartRegenerationFailureException")
async def _(here: World) -> AwsError:
    _raises(here, not_regenerated(SnapshotFailed("init")))
    return await here.error("Invoke", FunctionName="f")


@provokes("TooManyRequestsException")
async def _(here: World) -> AwsError:
    _raises(here, too_many("ConcurrentInvocationLimitExceeded"))
    return await here.error("Invoke", FunctionName="f")


@provokes("ServiceException")
async def _(here: World) -> AwsError:
    """A disk that is full."""

    def refuse(work: Any) -> Any:
        raise OSError(28, "No space left on device")

    here.rows.write = refuse  # type: ignore[method-assign]
    error = await here.error("TagResource", Resource=F, Tags={"a": "b"})
    del here.rows.write
    assert here.rows.read_now(rows.load)[0].tags == {}
    return error


_VPC = "Functions do not run in networks of their own here, so there is no interface to make."
_DURABLE = "Durable executions are not implemented; their operations answer 501."
_CAPACITY = "Capacity providers are not implemented; their operations answer 501."
_KMS = "There is no key service here, and nothing is encrypted with a caller's keys."
_EFS = "File systems cannot be mounted here, which is one exception for all: EFSMountFailure."
_RUNTIME = "Runtimes of one's own are not implemented."
UNPROVOKED = {
    "AliasLimitExceededException": "AWS does not say how many aliases a function may have.",
    "CallbackTimeoutException": _DURABLE,
    "CapacityProviderLimitExceededException": _CAPACITY,
    "CodeArtifactUserDeletedException": _RUNTIME,
    "CodeArtifactUserFailedException": _RUNTIME,
    "CodeArtifactUserPendingException": _RUNTIME,
    "DurableExecutionAlreadyStartedException": _DURABLE,
    "EC2AccessDeniedException": _VPC,
    "EC2ThrottledException": _VPC,
    "EC2UnexpectedException": _VPC,
    "EFSIOException": _EFS,
    "EFSMountConnectivityException": _EFS,
    "EFSMountTimeoutException": _EFS,
    "ENILimitReachedException": _VPC,
    "ENINotReadyException": _VPC,
    "FunctionVersionsPerCapacityProviderLimitExceededException": _CAPACITY,
    "InvalidCodeSignatureException": "No package carries a signature that could be broken.",
    "InvalidSecurityGroupIDException": _VPC,
    "InvalidSubnetIDException": _VPC,
    "InvalidZipFileException": "A package is unpacked before its upload is answered.",
    "KMSAccessDeniedException": _KMS,
    "KMSDisabledException": _KMS,
    "KMSInvalidStateException": _KMS,
    "KMSNotFoundException": _KMS,
    "ModeNotSupportedException": "Every function here may be invoked in every way there is.",
    "NoPublishedVersionException": "Of $LATEST.PUBLISHED, which belongs to capacity providers.",
    "PublicPolicyException": "No operation of the model forbids public policies.",
    "ResourceNotReadyException": _VPC,
    "RuntimeAliasDeletedException": _RUNTIME,
    "RuntimeVersionDeletedException": _RUNTIME,
    "S3FilesMountConnectivityException": _EFS,
    "S3FilesMountFailureException": _EFS,
    "S3FilesMountTimeoutException": _EFS,
    "SerializedRequestEntityTooLargeException": "The payload's own limit is reached first.",
    "ServiceQuotaExceededException": "Each quota that an invoke meets has its own exception.",
    "SubnetIPAddressLimitReachedException": _VPC,
    "UnsupportedMediaTypeException": "A payload is looked at, whatever its content type says.",
}


def _context(here: World, headers: dict[str, str]) -> Any:
    return Context(
        "lambda",
        "Invoke",
        "us-east-1",
        "000000000000",
        here.root,
        "id",
        lambda need: None,
        headers,
    )


def test_every_exception_of_the_model_is_accounted_for() -> None:
    names = {shape.name for shape in Models(dialects=DIALECTS).service("lambda").error_shapes}
    assert names == PROVOKED.keys() | UNPROVOKED.keys()
    assert not PROVOKED.keys() & UNPROVOKED.keys()


@pytest.mark.parametrize("name", sorted(PROVOKED))
async def test_it_can_be_provoked(name: str, tmp_path: Path) -> None:
    quotas = lambda_.Quotas(code_storage_bytes=15_000)
    async with world(
        tmp_path,
        options=lambda_.Options(quotas=quotas),
        runnable=lambda runtime: runtime.startswith("python"),
    ) as here:
        await here.create("f", Publish=True)
        error = await PROVOKED[name](here)
    shape = Models(dialects=DIALECTS).service("lambda").shape_for(name)
    assert error.code == name
    assert error.message
    status = shape.metadata.get("error", {}).get("httpStatusCode", 500)
    # A disk that refuses is answered 503, which clients try again, rather than the model's 500.
    assert error.status == (503 if name == "ServiceException" else status)

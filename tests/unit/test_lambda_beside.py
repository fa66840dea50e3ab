"""What stands beside functions: mappings, event invoke configs, URLs, signing, policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from boda.core.principal import root_of, service_principal
from boda.delivery.destination import AsyncRules
from boda.delivery.retry import RetryPolicy
from boda.fleet.provisioned import ProvisionedStatus
from boda.gateway.calling.models import Models
from boda.runtime.function import FunctionVersion
from support.dialects import DIALECTS
from support.lambda_world import World, package, world

PLACE = "us-east-1:000000000000"
QUEUE = f"arn:aws:sqs:{PLACE}:queue"
STREAM = f"arn:aws:kinesis:{PLACE}:stream/s"
TABLE = f"arn:aws:dynamodb:{PLACE}:table/t/stream/2026"
F = f"arn:aws:lambda:{PLACE}:function:f"


class Fleet:
    """Keeps what it is asked for; ``ready`` says how much of it there is."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}
        self.ready = ProvisionedStatus(0, 0)

    def provision(self, version: FunctionVersion, count: int) -> None:
        self.asked[version.version] = count

    def provisioned(self, version: FunctionVersion) -> ProvisionedStatus:
        return self.ready


@pytest.fixture
async def here(tmp_path: Path):
    async with world(tmp_path) as made:
        await made.create("f", Publish=True)
        await made.create("g")
        await made.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        yield made


# Event source mappings


def mapping(source: str, **members: Any) -> dict[str, Any]:
    return {"FunctionName": "f", "EventSourceArn": source, **members}


async def test_a_queue_echoes_what_queues_have_and_nothing_else(here: World) -> None:
    made = await here.call("CreateEventSourceMapping", **mapping(QUEUE))
    uuid = made["UUID"]
    del made["LastModified"]
    assert made == {
        "UUID": uuid,
        "EventSourceMappingArn": f"arn:aws:lambda:{PLACE}:event-source-mapping:{uuid}",
        "EventSourceArn": QUEUE,
        "FunctionArn": F,
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        "State": "Creating",
        "StateTransitionReason": "USER_INITIATED",
    }
    await here.settle()
    assert (await here.call("GetEventSourceMapping", UUID=uuid))["State"] == "Enabled"


async def test_a_stream_echoes_what_streams_have(here: World) -> None:
    made = await here.call(
        "CreateEventSourceMapping",
        **mapping(TABLE, StartingPosition="LATEST", FilterCriteria={"Filters": []}),
    )
    for volatile in ("UUID", "EventSourceMappingArn", "LastModified"):
        del made[volatile]
    assert made == {
        "EventSourceArn": TABLE,
        "FunctionArn": F,
        "StartingPosition": "LATEST",
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 0,
        "BisectBatchOnFunctionError": False,
        "DestinationConfig": {"OnFailure": {}},
        "MaximumRecordAgeInSeconds": -1,
        "MaximumRetryAttempts": -1,
        "ParallelizationFactor": 1,
        "TumblingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
        "LastProcessingResult": "No records processed",
        "State": "Creating",
        "StateTransitionReason": "User action",
    }


async def test_the_states_of_a_mapping(here: World) -> None:
    made = await here.call("CreateEventSourceMapping", **mapping(QUEUE, Enabled=False))
    uuid = made["UUID"]
    assert made["State"] == "Disabled"  # recorded: of queues at once
    await here.settle()
    enabling = await here.call("UpdateEventSourceMapping", UUID=uuid, Enabled=True)
    assert enabling["State"] == "Enabling"
    busy = await here.error("UpdateEventSourceMapping", UUID=uuid, BatchSize=5)
    assert (busy.code, busy.status) == ("ResourceInUseException", 400)
    await here.settle()
    changed = await here.call("UpdateEventSourceMapping", UUID=uuid, BatchSize=5)
    assert (changed["State"], changed["BatchSize"]) == ("Updating", 5)
    await here.settle()
    disabling = await here.call("UpdateEventSourceMapping", UUID=uuid, Enabled=False)
    assert disabling["State"] == "Disabling"
    await here.settle()
    assert (await here.call("DeleteEventSourceMapping", UUID=uuid))["State"] == "Deleting"
    await here.settle()
    gone = await here.error("GetEventSourceMapping", UUID=uuid)
    assert gone.message == "The resource you requested does not exist."


async def test_a_mapping_outlives_its_function_and_a_restart(here: World) -> None:
    made = await here.call("CreateEventSourceMapping", **mapping(QUEUE, Tags={"a": "b"}))
    await here.call("DeleteFunction", FunctionName="f")
    back = await here.again()
    document = back._beside.mappings.shelf.find(("000000000000", "us-east-1"), made["UUID"])
    assert document is not None
    assert (document["State"], document["Tags"]) == ("Enabled", {"a": "b"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"FunctionName": "f"}, "Unrecognized event source."),
        (mapping("arn:aws:s3:::bucket"), "Unrecognized event source."),
        ({**mapping(QUEUE), "FunctionName": "missing"}, "Function does not exist"),
        (
            mapping(QUEUE, BatchSize=11),
            "Maximum batch window in seconds must be greater than 0 if maximum batch size is "
            "greater than 10",
        ),
        (
            mapping(TABLE),
            "1 validation error detected: Value null at 'startingPosition' failed to satisfy "
            "constraint: Member must not be null.",
        ),
        (
            mapping(TABLE, StartingPosition="AT_TIMESTAMP"),
            f"Unsupported starting position for arn type: {TABLE}",
        ),
        (
            mapping(QUEUE, ParallelizationFactor=2),
            "Unsupported ParallelizationFactor parameter for given event source mapping type.",
        ),
        (
            mapping(QUEUE, FilterCriteria={"Filters": [{"Pattern": "single-string"}]}),
            "Invalid filter pattern definition.",
        ),
        (
            mapping(
                STREAM,
                StartingPosition="LATEST",
                DestinationConfig={"OnSuccess": {"Destination": QUEUE}},
            ),
            "Unsupported DestinationConfig parameter for given event source mapping type.",
        ),
    ],
)
async def test_what_a_mapping_may_not_say(here: World, given: Any, message: str) -> None:
    error = await here.error("CreateEventSourceMapping", **given)
    assert (error.code, error.message) == ("InvalidParameterValueException", message)


async def test_one_source_feeds_a_function_once(here: World) -> None:
    made = await here.call("CreateEventSourceMapping", **mapping(QUEUE))
    error = await here.error("CreateEventSourceMapping", **mapping(QUEUE))
    assert (error.status, error.message) == (
        409,
        f'An event source mapping with SQS arn (" {QUEUE} ") and function (" f ") already exists. '
        f"Please update or delete the existing mapping with UUID {made['UUID']}",
    )
    await here.call("CreateEventSourceMapping", **{**mapping(QUEUE), "FunctionName": "f:live"})
    stream = mapping(STREAM, StartingPosition="LATEST")
    other = await here.call("CreateEventSourceMapping", **stream)
    error = await here.error("CreateEventSourceMapping", **stream)
    assert error.message == (
        f'The event source arn (" {STREAM} ") and function (" f ") provided mapping already '
        f"exists. Please update or delete the existing mapping with UUID {other['UUID']}"
    )


@pytest.mark.parametrize(
    ("name", "arn"),
    [
        ("f", F),
        ("000000000000:function:f:$LATEST", f"{F}:$LATEST"),
        (f"{F}:$LATEST", F),
        (f"{F}:1", f"{F}:1"),
        ("000000000000:function:f:live", f"{F}:live"),
    ],
)
async def test_a_mapping_names_its_function_as_recorded(here: World, name: str, arn: str) -> None:
    made = await here.call("CreateEventSourceMapping", **{**mapping(QUEUE), "FunctionName": name})
    assert made["FunctionArn"] == arn
    listed = await here.call("ListEventSourceMappings", FunctionName=name)
    assert [each["UUID"] for each in listed["EventSourceMappings"]] == [made["UUID"]]
    assert (await here.call("ListEventSourceMappings", FunctionName="g")) == {
        "EventSourceMappings": []
    }


# Tags


async def test_tags_of_what_is_not_a_function(here: World) -> None:
    made = await here.call("CreateEventSourceMapping", **mapping(QUEUE, Tags={"a": "b"}))
    publishers = {"SigningProfileVersionArns": [f"arn:aws:signer:{PLACE}:/signing-profiles/p"]}
    config = await here.call(
        "CreateCodeSigningConfig", AllowedPublishers=publishers, Tags={"a": "b"}
    )
    for arn in (
        made["EventSourceMappingArn"],
        config["CodeSigningConfig"]["CodeSigningConfigArn"],
    ):
        await here.call("TagResource", Resource=arn, Tags={"c": "d"})
        await here.call("UntagResource", Resource=arn, TagKeys=["a"])
        assert (await here.call("ListTags", Resource=arn))["Tags"] == {"c": "d"}
        many = {str(number): "" for number in range(50)}
        error = await here.error("TagResource", Resource=arn, Tags=many)
        assert error.message == "Number of tags exceeds resource tag limit."


# Event invoke configs


async def test_rules_follow_the_config_of_the_qualifier(here: World) -> None:
    await here.call(
        "PutFunctionEventInvokeConfig",
        FunctionName="f:live",
        MaximumRetryAttempts=0,
        MaximumEventAgeInSeconds=60,
        DestinationConfig={"OnFailure": {"Destination": "arn:aws:s3:::records"}},
    )
    version = here.functions.resolve(F, "live")
    assert version is not None
    wanted = AsyncRules(RetryPolicy(0, 60), "", "arn:aws:s3:::records")
    assert here.service.async_rules(version, "live") == wanted
    assert here.service.async_rules(version, "1") == AsyncRules()
    back = await here.again()
    assert back.async_rules(version, "live") == wanted
    await here.call("DeleteAlias", FunctionName="f", Name="live")
    assert here.service.async_rules(version, "live") == AsyncRules()


async def test_a_bucket_is_told_of_failures_only(here: World) -> None:
    error = await here.error(
        "PutFunctionEventInvokeConfig",
        FunctionName="f",
        DestinationConfig={"OnSuccess": {"Destination": "arn:aws:s3:::records"}},
    )
    assert error.message.endswith("onFailure=null) is invalid.")


# Provisioned concurrency


async def test_provisioned_concurrency_is_what_the_fleet_has(tmp_path: Path) -> None:
    fleet = Fleet()
    async with world(tmp_path, provisioner=fleet) as here:
        await here.create("f", Publish=True)
        await here.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
        wanted = {"FunctionName": "f", "Qualifier": "live", "ProvisionedConcurrentExecutions": 5}
        put = await here.call("PutProvisionedConcurrencyConfig", **wanted)
        assert put["Status"] == "IN_PROGRESS" and fleet.asked == {"1": 5}
        assert here.concurrency.unreserved("000000000000", "us-east-1") == 995
        settings = await here.call("GetAccountSettings")
        assert settings["AccountLimit"]["UnreservedConcurrentExecutions"] == 995
        get = {"FunctionName": "f", "Qualifier": "live"}
        fleet.ready = ProvisionedStatus(5, 4)
        found = await here.call("GetProvisionedConcurrencyConfig", **get)
        del found["LastModified"]
        assert found == {
            "RequestedProvisionedConcurrentExecutions": 5,
            "AllocatedProvisionedConcurrentExecutions": 5,
            "AvailableProvisionedConcurrentExecutions": 4,
            "Status": "READY",
        }
        again = await here.call("PutProvisionedConcurrencyConfig", **wanted)
        assert {**again, "LastModified": ""} == {**found, "LastModified": ""}
        fleet.ready = ProvisionedStatus(0, 0, "FUNCTION_ERROR_INIT_FAILURE")
        found = await here.call("GetProvisionedConcurrencyConfig", **get)
        assert (found["Status"], found["StatusReason"]) == (
            "FAILED",
            "FUNCTION_ERROR_INIT_FAILURE",
        )
        two = await here.error("PutProvisionedConcurrencyConfig", **{**wanted, "Qualifier": "1"})
        assert two.message == "Version is pointed by a Provisioned Concurrency alias"
        await here.call("UpdateFunctionConfiguration", FunctionName="f", Description="new")
        await here.settle()
        await here.call("PublishVersion", FunctionName="f")
        await here.settle()
        await here.call("UpdateAlias", FunctionName="f", Name="live", FunctionVersion="2")
        assert fleet.asked == {"1": 0, "2": 5}
        await here.call("DeleteAlias", FunctionName="f", Name="live")
        assert fleet.asked == {"1": 0, "2": 0}
        assert here.concurrency.unreserved("000000000000", "us-east-1") == 1000


async def test_an_alias_takes_its_provisioned_concurrency_along(tmp_path: Path) -> None:
    """Lambda developer guide, "provisioned-concurrency"; the words with weights as CloudFormation
    users report them."""
    fleet = Fleet()
    async with world(tmp_path, provisioner=fleet) as here:
        await here.create_three("f")
        live = {"FunctionName": "f", "Name": "live"}
        await here.call("CreateAlias", **live, FunctionVersion="1")
        put = {"FunctionName": "f", "Qualifier": "live", "ProvisionedConcurrentExecutions": 2}
        await here.call("PutProvisionedConcurrencyConfig", **put)
        weights = {"AdditionalVersionWeights": {"1": 0.9}}
        await here.call("UpdateAlias", **live, FunctionVersion="2", RoutingConfig=weights)
        assert fleet.asked == {"1": 0, "2": 2}
        error = await here.error("PutProvisionedConcurrencyConfig", **put)
        assert error.message == "Alias with weights can not be used with Provisioned Concurrency"
        await here.call("UpdateAlias", **live, RoutingConfig={})
        await here.call(
            "PutProvisionedConcurrencyConfig", **{**put, "ProvisionedConcurrentExecutions": 3}
        )
        assert fleet.asked == {"1": 0, "2": 3}
        other = {**put, "Qualifier": "3", "ProvisionedConcurrentExecutions": 1}
        await here.call("PutProvisionedConcurrencyConfig", **other)
        error = await here.error("UpdateAlias", **live, FunctionVersion="3")
        assert (error.code, error.status) == ("ResourceConflictException", 409)
        error = await here.error("UpdateAlias", **live, FunctionVersion="$LATEST")
        assert error.message == "Invalid alias configuration for Provisioned Concurrency"
        assert fleet.asked == {"1": 0, "2": 3, "3": 1}
        await here.call("CreateAlias", FunctionName="f", Name="next", FunctionVersion="$LATEST")
        error = await here.error("PutProvisionedConcurrencyConfig", **{**put, "Qualifier": "next"})
        assert "unpublished function versions" in error.message
        await here.call("DeleteFunction", FunctionName="f")
        assert set(fleet.asked.values()) == {0}


async def test_what_does_not_go_together_with_tenants_and_snapshots(here: World) -> None:
    await here.create("t", Publish=True, TenancyConfig={"TenantIsolationMode": "PER_TENANT"})
    put = {"Qualifier": "1", "ProvisionedConcurrentExecutions": 1}
    error = await here.error("PutProvisionedConcurrencyConfig", FunctionName="t", **put)
    assert "TenancyConfig" in error.message
    error = await here.error("CreateFunctionUrlConfig", FunctionName="t", AuthType="NONE")
    assert "TenancyConfig" in error.message
    source = "arn:aws:sqs:us-east-1:000000000000:q"
    error = await here.error("CreateEventSourceMapping", FunctionName="t", EventSourceArn=source)
    assert "TenancyConfig" in error.message
    await here.create("s", Publish=True, SnapStart={"ApplyOn": "PublishedVersions"})
    await here.settle()
    error = await here.error("PutProvisionedConcurrencyConfig", FunctionName="s", **put)
    assert "SnapStart" in error.message


async def test_reserved_and_provisioned_concurrency_agree(here: World) -> None:
    put = {"FunctionName": "f", "Qualifier": "1"}
    await here.call("PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=2)
    error = await here.error(
        "PutProvisionedConcurrencyConfig", **put, ProvisionedConcurrentExecutions=3
    )
    assert error.message == (
        "Requested Provisioned Concurrency should not be greater than the "
        "reservedConcurrentExecution for function"
    )
    await here.call("PutProvisionedConcurrencyConfig", **put, ProvisionedConcurrentExecutions=2)
    error = await here.error(
        "PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=1
    )
    assert error.message == (
        " ReservedConcurrentExecutions  1 should not be lower than function's total provisioned "
        "concurrency [2]."
    )


# Code signing


async def test_unsigned_code_under_enforce_and_under_warn(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        publishers = {"SigningProfileVersionArns": [f"arn:aws:signer:{PLACE}:/signing-profiles/p"]}
        made = await here.call("CreateCodeSigningConfig", AllowedPublishers=publishers)
        arn = made["CodeSigningConfig"]["CodeSigningConfigArn"]
        await here.create("f", CodeSigningConfigArn=arn)
        assert here.noted.counted == ["SignatureValidationErrors"]
        assert (await here.call("GetFunctionCodeSigningConfig", FunctionName="f")) == {
            "CodeSigningConfigArn": arn,
            "FunctionName": "f",
        }
        await here.call(
            "UpdateCodeSigningConfig",
            CodeSigningConfigArn=arn,
            CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Enforce"},
        )
        code = {"FunctionName": "f", "ZipFile": package({"app.py": "x = 1"})}
        error = await here.error("UpdateFunctionCode", **code)
        assert (error.code, error.status) == ("CodeVerificationFailedException", 400)
        used = await here.error("DeleteCodeSigningConfig", CodeSigningConfigArn=arn)
        assert used.code == "ResourceConflictException"
        await here.call("DeleteFunctionCodeSigningConfig", FunctionName="f")
        await here.call("UpdateFunctionCode", **code)
        await here.call("DeleteCodeSigningConfig", CodeSigningConfigArn=arn)
        for operation, params in (
            ("GetCodeSigningConfig", {}),
            ("PutFunctionCodeSigningConfig", {"FunctionName": "f"}),
        ):
            error = await here.error(operation, CodeSigningConfigArn=arn, **params)
            assert error.status == 404 and arn in error.message


# URLs, runtimes, policies, InvokeAsync


async def test_a_url_stays_while_its_config_changes(here: World) -> None:
    made = await here.call("CreateFunctionUrlConfig", FunctionName="f", AuthType="NONE")
    cors = {"AllowOrigins": ["https://example.org"], "MaxAge": 60}
    changed = await here.call(
        "UpdateFunctionUrlConfig", FunctionName="f", AuthType="AWS_IAM", Cors=cors
    )
    assert changed["FunctionUrl"] == made["FunctionUrl"] and changed["Cors"] == cors
    same = await here.call("UpdateFunctionUrlConfig", FunctionName="f", AuthType="AWS_IAM")
    assert same["LastModifiedTime"] == changed["LastModifiedTime"]
    await here.call("CreateFunctionUrlConfig", FunctionName="f:live", AuthType="NONE")
    listed = await here.call("ListFunctionUrlConfigs", FunctionName="f", MaxItems=1)
    rest = await here.call("ListFunctionUrlConfigs", FunctionName="f", Marker=listed["NextMarker"])
    arns = [each["FunctionArn"] for page in (listed, rest) for each in page["FunctionUrlConfigs"]]
    assert arns == [F, f"{F}:live"]


async def test_manual_runtimes_name_the_one_there_is(here: World) -> None:
    found = await here.call("GetRuntimeManagementConfig", FunctionName="f")
    assert found == {"UpdateRuntimeOn": "Auto", "FunctionArn": f"{F}:$LATEST"}
    answer = await here.call("GetFunctionConfiguration", FunctionName="f")
    arn = answer["RuntimeVersionConfig"]["RuntimeVersionArn"]
    put = {"FunctionName": "f", "UpdateRuntimeOn": "Manual"}
    await here.call("PutRuntimeManagementConfig", **put, RuntimeVersionArn=arn)
    found = await here.call("GetRuntimeManagementConfig", FunctionName="f")
    assert found["RuntimeVersionArn"] == arn
    other = arn[:-4] + "0000"
    error = await here.error("PutRuntimeManagementConfig", **put, RuntimeVersionArn=other)
    assert error.code == "InvalidParameterValueException"
    assert (await here.error("PutRuntimeManagementConfig", **put)).status == 400


async def test_a_policy_put_as_a_whole_is_the_one_permissions_add_to(here: World) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": F,
    }
    policy = json.dumps({"Version": "2012-10-17", "Id": "mine", "Statement": [statement]})
    put = await here.call("PutResourcePolicy", ResourceArn=F, Policy=policy)
    assert json.loads(put["Policy"]) == json.loads(policy)
    same = await here.call("PutResourcePolicy", ResourceArn=F, Policy=policy)
    assert same == put  # nothing changed, so no new revision
    await here.call(
        "AddPermission",
        FunctionName="f",
        StatementId="more",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
    )
    found = await here.call("GetResourcePolicy", ResourceArn=F)
    document = json.loads(found["Policy"])
    assert document["Id"] == "mine" and len(document["Statement"]) == 2
    assert (await here.call("GetPolicy", FunctionName="f"))["Policy"] == found["Policy"]
    stale = await here.error("DeleteResourcePolicy", ResourceArn=F, RevisionId=put["RevisionId"])
    assert stale.status == 412
    await here.call("DeleteResourcePolicy", ResourceArn=F, RevisionId=found["RevisionId"])
    assert (await here.error("GetResourcePolicy", ResourceArn=F)).status == 404


@pytest.mark.parametrize(
    "policy",
    [
        "{",
        "[]",
        '{"Statement": []}',
        '{"Statement": [1]}',
        '{"Statement": [{"Effect": "Allow"}]}',
        f'{{"Statement": [{{"Effect": "Allow", "Principal": "*", "Resource": "{F}2"}}]}}',
        f'{{"Statement": [{{"Effect": "May", "Principal": "*", "Resource": "{F}"}}]}}',
        '{"Version": "1999-01-01", "Statement": [{}]}',
    ],
)
async def test_what_is_no_policy_is_refused(here: World, policy: str) -> None:
    error = await here.error("PutResourcePolicy", ResourceArn=F, Policy=policy)
    assert (error.code, error.status) == ("InvalidParameterValueException", 400)


async def test_invoke_async_is_an_event(here: World) -> None:
    await here.call("InvokeAsync", FunctionName="f", InvokeArgs=b'{"a": 1}')
    (event,) = here.queue.accepted
    assert event["payload"] == b'{"a": 1}'
    error = await here.error("InvokeAsync", FunctionName="f", InvokeArgs=b"{")
    assert error.code == "InvalidRequestContentException"


NOT_YET = {
    "CheckpointDurableExecution",
    "DeleteDurableExecution",
    "GetDurableExecution",
    "GetDurableExecutionHistory",
    "GetDurableExecutionState",
    "ListDurableExecutionsByFunction",
    "PauseDurableExecution",
    "ResumeDurableExecution",
    "SendDurableExecutionCallbackFailure",
    "SendDurableExecutionCallbackHeartbeat",
    "SendDurableExecutionCallbackSuccess",
    "StopDurableExecution",
    "CreateCapacityProvider",
    "DeleteCapacityProvider",
    "GetCapacityProvider",
    "ListCapacityProviders",
    "ListFunctionVersionsByCapacityProvider",
    "UpdateCapacityProvider",
    "GetFunctionScalingConfig",
    "PutFunctionScalingConfig",
}


async def test_what_is_not_there_yet_says_so_by_name(here: World) -> None:
    names = set(Models(dialects=DIALECTS).service("lambda").operation_names)
    assert names - set(here.service.service.operations) == NOT_YET
    for name in NOT_YET:
        error = await here.error(name)
        assert error.status == 501 and name in error.message


@pytest.mark.parametrize("who", ["account", "service"])
async def test_a_policy_holds_for_the_qualifier_it_was_given_to(here: World, who: str) -> None:
    other = root_of("111111111111") if who == "account" else service_principal("s3.amazonaws.com")
    named = "111111111111" if who == "account" else "s3.amazonaws.com"
    for qualifier in ("live", "1"):
        await here.call(
            "AddPermission",
            FunctionName="f",
            Qualifier=qualifier,
            StatementId="other",
            Action="lambda:InvokeFunction",
            Principal=named,
        )
        await here.call("Invoke", other, FunctionName=f"{F}:{qualifier}")
        for closed in (F, f"{F}:$LATEST", "live" if qualifier == "1" else "1"):
            if closed == "live":
                continue  # it was opened before
            arn = closed if closed.startswith("arn:") else f"{F}:{closed}"
            error = await here.error("Invoke", other, FunctionName=arn)
            assert (error.code, error.status) == ("AccessDeniedException", 403)
    await here.call("RemovePermission", FunctionName="f", Qualifier="live", StatementId="other")
    assert (await here.error("Invoke", other, FunctionName=f"{F}:live")).status == 403

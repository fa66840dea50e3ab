"""The directory: credentials and permissions from memory, and what survives a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.principal import Principal
from boda.gateway.asking.need import Need
from support.identity import Platform, platform
from support.world import ACCOUNT

ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"


def _document(action: str = "s3:*", effect: str = "Allow", resource: str = "*") -> str:
    statement = {"Effect": effect, "Action": action, "Resource": resource}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _trust(service: str = "lambda.amazonaws.com", **condition: Any) -> str:
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": service},
    }
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _may(aws: Platform, principal: Principal, action: str = "s3:GetObject") -> bool:
    return aws.authorizer.allows(principal, Need(action, "arn:aws:s3:::b/k"), {})


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[Platform]:
    async with platform(tmp_path) as made:
        yield made


async def test_the_root_key_is_made_once(tmp_path: Path) -> None:
    async with platform(tmp_path) as first:
        made = first.identity.root_credential()
    async with platform(tmp_path) as second:
        assert second.identity.root_credential() == made
        given = await second.identity.ensure_root("AKIAGIVENGIVENGIVENG", "secret")
        assert second.identity.credential("AKIAGIVENGIVENGIVENG") == given
        assert given.principal.kind == "root"
    assert made.access_key_id.startswith("AKIA") and len(made.access_key_id) == 20
    assert len(made.secret) == 40


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
    async with platform(tmp_path) as first:
        await first.user("bob", _document(), Tags=[{"Key": "Team", "Value": "red"}], Path="/x/")
        arn = (await first.iam("CreatePolicy", PolicyName="p", PolicyDocument=_document()))[
            "Policy"
        ]["Arn"]
        await first.iam("CreatePolicyVersion", PolicyArn=arn, PolicyDocument=_document("sqs:*"))
        await first.iam("CreateGroup", GroupName="g")
        await first.iam("AttachGroupPolicy", GroupName="g", PolicyArn=arn)
        await first.iam("AddUserToGroup", GroupName="g", UserName="bob")
        await first.iam(
            "CreateRole",
            RoleName="r",
            AssumeRolePolicyDocument=_trust(),
            PermissionsBoundary=arn,
            Description="d",
            MaxSessionDuration=7200,
        )
        await first.iam("PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=_document())
        before = [
            await first.iam("GetUser", UserName="bob"),
            await first.iam("GetGroup", GroupName="g"),
            await first.iam("GetRole", RoleName="r"),
            await first.iam("GetRolePolicy", RoleName="r", PolicyName="p"),
            await first.iam("GetPolicy", PolicyArn=arn),
            await first.iam("ListPolicyVersions", PolicyArn=arn),
            await first.iam("ListAccessKeys", UserName="bob"),
        ]
        key = before[6]["AccessKeyMetadata"][0]["AccessKeyId"]
        credential = first.identity.credential(key)
    async with platform(tmp_path) as second:
        after = [
            await second.iam("GetUser", UserName="bob"),
            await second.iam("GetGroup", GroupName="g"),
            await second.iam("GetRole", RoleName="r"),
            await second.iam("GetRolePolicy", RoleName="r", PolicyName="p"),
            await second.iam("GetPolicy", PolicyArn=arn),
            await second.iam("ListPolicyVersions", PolicyArn=arn),
            await second.iam("ListAccessKeys", UserName="bob"),
        ]
        assert after == before
        assert second.identity.credential(key) == credential
        assert _may(second, second.principal(key))


async def test_permissions_follow_every_change(aws: Platform) -> None:
    bob = await aws.user("bob")
    assert not _may(aws, bob)
    await aws.iam("PutUserPolicy", UserName="bob", PolicyName="p", PolicyDocument=_document())
    assert _may(aws, bob)
    await aws.iam(
        "PutUserPolicy", UserName="bob", PolicyName="q", PolicyDocument=_document(effect="Deny")
    )
    assert not _may(aws, bob)
    await aws.iam("DeleteUserPolicy", UserName="bob", PolicyName="q")
    assert _may(aws, bob)
    await aws.iam("DeleteUserPolicy", UserName="bob", PolicyName="p")
    assert not _may(aws, bob)

    await aws.iam("CreateGroup", GroupName="g")
    await aws.iam("PutGroupPolicy", GroupName="g", PolicyName="p", PolicyDocument=_document())
    assert not _may(aws, bob)
    await aws.iam("AddUserToGroup", GroupName="g", UserName="bob")
    assert _may(aws, bob)

    read_only = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
    await aws.iam("PutUserPermissionsBoundary", UserName="bob", PermissionsBoundary=read_only)
    assert _may(aws, bob) and not _may(aws, bob, "s3:PutObject")
    await aws.iam("DeleteUserPermissionsBoundary", UserName="bob")
    assert _may(aws, bob, "s3:PutObject")
    await aws.iam("RemoveUserFromGroup", GroupName="g", UserName="bob")
    assert not _may(aws, bob)

    arn = (await aws.iam("CreatePolicy", PolicyName="p", PolicyDocument=_document()))["Policy"][
        "Arn"
    ]
    await aws.iam("AttachUserPolicy", UserName="bob", PolicyArn=arn)
    assert _may(aws, bob)
    await aws.iam(
        "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=_document("sqs:*"), SetAsDefault=True
    )
    assert not _may(aws, bob)


async def test_a_disabled_key_is_inactive_and_a_deleted_one_unknown(aws: Platform) -> None:
    bob = await aws.user("bob")
    key = bob.access_key_id
    await aws.iam("UpdateAccessKey", UserName="bob", AccessKeyId=key, Status="Inactive")
    found = aws.identity.credential(key)
    assert found is not None and not found.active
    await aws.iam("UpdateAccessKey", UserName="bob", AccessKeyId=key, Status="Active")
    found = aws.identity.credential(key)
    assert found is not None and found.active
    await aws.iam("DeleteAccessKey", UserName="bob", AccessKeyId=key)
    assert aws.identity.credential(key) is None
    assert aws.identity.credential("AKIAUNKNOWNUNKNOWNUN") is None


async def test_who_may_have_a_role(aws: Platform) -> None:
    await aws.iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=_trust())
    trusts = aws.identity.role_trusts
    assert trusts(ROLE, "lambda.amazonaws.com")
    assert not trusts(ROLE, "ec2.amazonaws.com")
    assert not trusts(ROLE + "2", "lambda.amazonaws.com")
    await aws.iam(
        "UpdateAssumeRolePolicy",
        RoleName="r",
        PolicyDocument=_trust(StringEquals={"aws:SourceAccount": "111111111111"}),
    )
    assert not trusts(ROLE, "lambda.amazonaws.com")
    assert trusts(ROLE, "lambda.amazonaws.com", {"aws:sourceaccount": "111111111111"})


@pytest.mark.parametrize(
    ("condition", "trusted"),
    [
        ({"ArnLike": {"aws:SourceArn": "arn:aws:lambda:*:*:function:f"}}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:lambda:*:*:function:g"}}, False),
        ({"DateLessThan": {"aws:CurrentTime": "2001-01-01T00:00:00Z"}}, False),
        ({"DateGreaterThan": {"aws:CurrentTime": "1970-01-01T00:00:00Z"}}, True),
        ({"StringEquals": {"aws:PrincipalServiceName": "lambda.amazonaws.com"}}, True),
        ({"Bool": {"aws:PrincipalIsAWSService": "true"}}, True),
        ({"StringEquals": {"aws:ResourceTag/team": "red"}}, True),
        ({"StringEquals": {"aws:ResourceTag/team": "blue"}}, False),
    ],
)
async def test_what_a_trust_policy_may_ask_of_a_service(
    aws: Platform, condition: dict[str, Any], trusted: bool
) -> None:
    await aws.iam(
        "CreateRole",
        RoleName="r",
        AssumeRolePolicyDocument=_trust(**condition),
        Tags=[{"Key": "team", "Value": "red"}],
    )
    source = {"aws:sourcearn": "arn:aws:lambda:us-east-1:000000000000:function:f"}
    assert aws.identity.role_trusts(ROLE, "lambda.amazonaws.com", source) is trusted


async def test_a_functions_credentials(aws: Platform) -> None:
    await aws.iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=_trust())
    await aws.iam("PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=_document())
    with pytest.raises(LookupError):
        aws.identity.issue_role_credentials(ROLE + "2", "fn", 3600)
    made = aws.identity.issue_role_credentials(ROLE, "fn", 3600)
    assert made.access_key_id.startswith("ASIA") and made.session_token
    assert aws.identity.credential(made.access_key_id) == made
    assert made.expires_at == ManualClock().now() + 3600
    assert made.principal.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/r/fn"
    assert _may(aws, made.principal)
    # A role of the same name is another role.
    await aws.iam("DeleteRolePolicy", RoleName="r", PolicyName="p")
    await aws.iam("DeleteRole", RoleName="r")
    assert aws.identity.credential(made.access_key_id) is None
    await aws.iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=_trust())
    await aws.iam("PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=_document())
    assert aws.identity.credential(made.access_key_id) is None
    assert not _may(aws, made.principal)


async def test_ended_credentials_do_not_pile_up(tmp_path: Path) -> None:
    clock = ManualClock()
    async with platform(tmp_path, clock) as aws:
        await aws.iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=_trust())
        first = aws.identity.issue_role_credentials(ROLE, "fn", 900)
        await clock.advance(900 + 3601)
        assert aws.identity.credential(first.access_key_id) is not None
        for _ in range(600):
            aws.identity.issue_role_credentials(ROLE, "fn", 900)
        assert aws.identity.credential(first.access_key_id) is None
        last = aws.identity.issue_role_credentials(ROLE, "fn", 900)
        aws.identity.revoke(last.access_key_id)
        assert aws.identity.credential(last.access_key_id) is None


async def test_a_change_ends_even_when_its_caller_goes_away(aws: Platform) -> None:
    task = asyncio.create_task(aws.iam("CreateUser", UserName="bob"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # The next change waits for the one before.
    with pytest.raises(AwsError) as caught:
        await aws.iam("CreateUser", UserName="bob")
    assert caught.value.code == "EntityAlreadyExists"


async def test_of_many_who_want_one_name_one_gets_it(aws: Platform) -> None:
    answers = await asyncio.gather(
        *(aws.iam("CreateUser", UserName="bob") for _ in range(8)), return_exceptions=True
    )
    refused = [found for found in answers if isinstance(found, AwsError)]
    assert len(refused) == 7
    assert {error.code for error in refused} == {"EntityAlreadyExists"}


async def test_nothing_is_shown_that_was_not_written(aws: Platform) -> None:
    generation = aws.identity.generation

    async def fail(_work: Any) -> None:
        raise OSError("disk full")

    write, aws.host.rows.write = aws.host.rows.write, fail  # type: ignore[method-assign, assignment]
    with pytest.raises(OSError, match="disk full"):
        await aws.iam("CreateUser", UserName="bob")
    aws.host.rows.write = write  # type: ignore[method-assign]
    assert (await aws.iam("ListUsers"))["Users"] == []
    assert aws.identity.generation == generation

"""STS: who one is, and credentials for a while."""

from __future__ import annotations

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


def _document(action: Any, resource: str = "*", **more: Any) -> str:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _trust(principal: Any, action: Any = "sts:AssumeRole", **more: Any) -> str:
    statement = {"Effect": "Allow", "Action": action, "Principal": principal, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


TRUST_ALL = _trust({"AWS": ACCOUNT}, ["sts:AssumeRole", "sts:TagSession"])


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[Platform]:
    async with platform(tmp_path) as made:
        yield made


async def _role(aws: Platform, trust: str = TRUST_ALL, name: str = "r", **more: Any) -> str:
    made = await aws.iam("CreateRole", RoleName=name, AssumeRolePolicyDocument=trust, **more)
    await aws.iam("PutRolePolicy", RoleName=name, PolicyName="p", PolicyDocument=_document("*"))
    return str(made["Role"]["Arn"])


async def _assume(
    aws: Platform, principal: Principal | None = None, **params: Any
) -> dict[str, Any]:
    given = {"RoleArn": ROLE, "RoleSessionName": "session", **params}
    return await aws.call("sts", "AssumeRole", principal, **given)


async def _refused(
    aws: Platform, principal: Principal | None = None, **params: Any
) -> tuple[str, str]:
    with pytest.raises(AwsError) as caught:
        await _assume(aws, principal, **params)
    return caught.value.code, caught.value.message


def _who(aws: Platform, answer: dict[str, Any]) -> Principal:
    return aws.principal(answer["Credentials"]["AccessKeyId"])


def _may(aws: Platform, who: Principal, action: str, resource: str = "arn:aws:s3:::b/k") -> bool:
    return aws.authorizer.allows(who, Need(action, resource), {})


def _denied(who: Principal, role: str = ROLE) -> tuple[str, str]:
    return (
        "AccessDenied",
        f"User: {who.arn} is not authorized to perform: sts:AssumeRole on resource: {role}",
    )


async def test_anybody_may_ask_who_they_are(aws: Platform) -> None:
    bob = await aws.user("bob")
    assert await aws.call("sts", "GetCallerIdentity", bob) == {
        "UserId": bob.unique_id,
        "Account": ACCOUNT,
        "Arn": f"arn:aws:iam::{ACCOUNT}:user/bob",
    }


async def test_the_trust_policy_and_the_caller_must_agree(aws: Platform) -> None:
    bob = await aws.user("bob")
    assert await _refused(aws, bob) == _denied(bob)
    await _role(aws)
    assert await _refused(aws, bob) == _denied(bob)
    await aws.iam(
        "PutUserPolicy", UserName="bob", PolicyName="p", PolicyDocument=_document("sts:AssumeRole")
    )
    assert _who(aws, await _assume(aws, bob)).arn.endswith(":assumed-role/r/session")
    await aws.iam(
        "UpdateAssumeRolePolicy",
        RoleName="r",
        PolicyDocument=_trust({"Service": "lambda.amazonaws.com"}),
    )
    assert await _refused(aws, bob) == _denied(bob)
    # Named in the trust policy, the user needs no policy of its own.
    await aws.iam("DeleteUserPolicy", UserName="bob", PolicyName="p")
    await aws.iam("UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=_trust({"AWS": bob.arn}))
    await _assume(aws, bob)


async def test_a_role_that_does_not_exist_is_refused_in_the_same_words(aws: Platform) -> None:
    bob = await aws.user("bob", _document("*"))
    missing = f"arn:aws:iam::{ACCOUNT}:role/missing"
    assert await _refused(aws, bob, RoleArn=missing) == _denied(bob, missing)
    assert await _refused(aws, RoleArn=missing) == _denied(aws.root, missing)
    abroad = "arn:aws:iam::111111111111:role/theirs"
    assert await _refused(aws, bob, RoleArn=abroad) == _denied(bob, abroad)
    assert await _refused(aws, RoleArn="not-an-arn-but-long-enough") == (
        "ValidationError",
        "not-an-arn-but-long-enough is invalid",
    )


async def test_the_external_id_is_the_trust_policys_to_judge(aws: Platform) -> None:
    condition = {"StringEquals": {"sts:ExternalId": "secret-word"}}
    await _role(aws, _trust({"AWS": ACCOUNT}, Condition=condition))
    assert await _refused(aws) == _denied(aws.root)
    assert await _refused(aws, ExternalId="wrong") == _denied(aws.root)
    await _assume(aws, ExternalId="secret-word")


async def test_durations(aws: Platform) -> None:
    await _role(aws, MaxSessionDuration=7200)
    now = ManualClock().now()
    assert (await _assume(aws))["Credentials"]["Expiration"].timestamp() == now + 3600
    long = await _assume(aws, DurationSeconds=7200)
    assert long["Credentials"]["Expiration"].timestamp() == now + 7200
    assert await _refused(aws, DurationSeconds=7201) == (
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    )
    code, message = await _refused(aws, _who(aws, long), DurationSeconds=3601)
    assert code == "ValidationError" and "1 hour session limit" in message
    await _assume(aws, _who(aws, long), DurationSeconds=3600)


async def test_session_policies_only_narrow(aws: Platform) -> None:
    await _role(aws)
    free = _who(aws, await _assume(aws))
    assert _may(aws, free, "s3:PutObject")
    text = await _assume(aws, Policy=_document("s3:Get*"))
    assert text["PackedPolicySize"] > 0
    narrow = _who(aws, text)
    assert _may(aws, narrow, "s3:GetObject") and not _may(aws, narrow, "s3:PutObject")
    managed = "arn:aws:iam::aws:policy/AmazonSQSFullAccess"
    named = _who(aws, await _assume(aws, PolicyArns=[{"arn": managed}]))
    assert _may(aws, named, "sqs:SendMessage") and not _may(aws, named, "s3:GetObject")
    # What a session policy allows and the role does not stays forbidden.
    await aws.iam("PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=_document("s3:*"))
    assert not _may(aws, named, "sqs:SendMessage")


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"Policy": "{"}, "MalformedPolicyDocument"),
        ({"Policy": _document("s3:*", Principal="*")}, "MalformedPolicyDocument"),
        ({"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/Nope"}]}, "ValidationError"),
        ({"Policy": _document("s3:*", "arn:aws:s3:::" + "b" * 2047)}, "PackedPolicyTooLarge"),
        (
            {"Tags": [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]},
            "InvalidParameterValue",
        ),
        ({"TransitiveTagKeys": ["absent"]}, "InvalidParameterValue"),
        ({"DurationSeconds": 60}, "ValidationError"),
    ],
)
async def test_bad_parameters(aws: Platform, params: dict[str, Any], code: str) -> None:
    await _role(aws)
    assert (await _refused(aws, **params))[0] == code


async def test_session_tags_become_the_principals(aws: Platform) -> None:
    await _role(aws, Tags=[{"Key": "Team", "Value": "red"}, {"Key": "Site", "Value": "north"}])
    tags = [{"Key": "team", "Value": "blue"}, {"Key": "Cost", "Value": "7"}]
    first = _who(aws, await _assume(aws, Tags=tags, TransitiveTagKeys=["Cost"]))
    assert dict(first.tags) == {"Site": "north", "team": "blue", "Cost": "7"}
    await _role(aws, name="q")
    second = _who(aws, await _assume(aws, first, RoleArn=f"arn:aws:iam::{ACCOUNT}:role/q"))
    assert dict(second.tags) == {"Cost": "7"}


async def test_tagging_a_session_needs_permission(aws: Platform) -> None:
    await _role(aws, _trust({"AWS": ACCOUNT}))
    code, message = await _refused(aws, Tags=[{"Key": "a", "Value": "b"}])
    assert code == "AccessDenied" and "sts:TagSession" in message


async def test_sessions_survive_a_restart_and_end(tmp_path: Path) -> None:
    clock = ManualClock()
    async with platform(tmp_path, clock) as first:
        await _role(first)
        made = await _assume(first, Policy=_document("s3:Get*"), Tags=[{"Key": "a", "Value": "b"}])
        key = made["Credentials"]["AccessKeyId"]
        before = first.identity.credential(key)
    async with platform(tmp_path, clock) as second:
        assert second.identity.credential(key) == before
        who = second.principal(key)
        assert _may(second, who, "s3:GetObject") and not _may(second, who, "s3:PutObject")
    await clock.advance(3600 + 3601)
    async with platform(tmp_path, clock) as third:
        assert third.identity.credential(key) is None


async def test_a_users_session_token(aws: Platform) -> None:
    bob = await aws.user("bob", _document("s3:*"))
    made = await aws.call("sts", "GetSessionToken", bob)
    now = ManualClock().now()
    assert made["Credentials"]["Expiration"].timestamp() == now + 43_200
    session = _who(aws, made)
    assert (session.arn, session.unique_id) == (bob.arn, bob.unique_id)
    assert _may(aws, session, "s3:GetObject") and not _may(aws, session, "sqs:SendMessage")
    with pytest.raises(AwsError) as caught:
        await aws.call("sts", "GetSessionToken", session)
    assert caught.value.message == "Cannot call GetSessionToken with session credentials"
    root = await aws.call("sts", "GetSessionToken", DurationSeconds=43_200)
    assert root["Credentials"]["Expiration"].timestamp() == now + 3_600
    assert _who(aws, root).kind == "root"


async def test_a_federated_user_may_what_both_allow(aws: Platform) -> None:
    bob = await aws.user("bob", _document(["s3:*", "sts:GetFederationToken"]))
    bare = _who(aws, await aws.call("sts", "GetFederationToken", bob, Name="guest"))
    assert bare.arn == f"arn:aws:sts::{ACCOUNT}:federated-user/guest"
    assert not _may(aws, bare, "s3:GetObject")
    policy = _document(["s3:Get*", "sqs:*"])
    made = await aws.call("sts", "GetFederationToken", bob, Name="guest", Policy=policy)
    guest = _who(aws, made)
    assert _may(aws, guest, "s3:GetObject")
    assert not _may(aws, guest, "s3:PutObject") and not _may(aws, guest, "sqs:SendMessage")
    root = await aws.call("sts", "GetFederationToken", Name="guest")
    assert not _may(aws, _who(aws, root), "s3:GetObject")


async def test_whose_key_it_is(aws: Platform) -> None:
    bob = await aws.user("bob")
    found = await aws.call("sts", "GetAccessKeyInfo", AccessKeyId=bob.access_key_id)
    assert found == {"Account": ACCOUNT}
    with pytest.raises(AwsError) as caught:
        await aws.call("sts", "GetAccessKeyInfo", AccessKeyId="AKIAUNKNOWNUNKNOWNUN")
    assert caught.value.status == 400


async def test_lent_credentials_make_nothing_that_stays(aws: Platform) -> None:
    bob = await aws.user("bob", _document("*"))
    await _role(aws)
    token = _who(aws, await aws.call("sts", "GetSessionToken", bob))
    root = _who(aws, await aws.call("sts", "GetSessionToken"))
    policy = _document("*")
    guest = _who(aws, await aws.call("sts", "GetFederationToken", Name="guest", Policy=policy))
    for lent in (token, root, guest):
        for operation in ("CreateAccessKey", "ListUsers", "GetUser"):
            with pytest.raises(AwsError) as caught:
                await aws.iam(operation, lent)
            assert caught.value.code == "InvalidClientTokenId"
    await _assume(aws, token)
    assert await _refused(aws, guest) == _denied(guest)

"""Whom a policy names: kept by unique ids, and only if there is somebody of that name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from boda.core.errors import AwsError
from boda.core.policy_principals import is_service
from support.account import Account, account
from support.world import ACCOUNT, EVERYTHING, document, trust

BOB = f"arn:aws:iam::{ACCOUNT}:user/bob"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/team/r"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/r/s-1"
TARGET = f"arn:aws:iam::{ACCOUNT}:role/target"
FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:f"
BUCKET = "arn:aws:s3:::b-ucket"


class Carrier:
    """A policy on something. allows: whether a principal gets by it to what it is on."""

    def __init__(self, here: Account) -> None:
        self.here = here

    async def build(self) -> None: ...

    async def put(self, principal: Any) -> None:
        """Let the principal."""
        raise NotImplementedError

    async def shown(self) -> Any:
        """The principal as the policy shows it."""
        raise NotImplementedError

    async def allows(self, access_key_id: str) -> bool:
        raise NotImplementedError


class Trust(Carrier):
    async def build(self) -> None:
        await self.here.call("iam", "CreateRole", RoleName="target",
                             AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}))  # fmt: skip

    async def put(self, principal: Any) -> None:
        await self.here.call("iam", "UpdateAssumeRolePolicy", RoleName="target",
                             PolicyDocument=trust(principal))  # fmt: skip

    async def shown(self) -> Any:
        made = await self.here.call("iam", "GetRole", RoleName="target")
        policy = json.loads(unquote(made["Role"]["AssumeRolePolicyDocument"]))
        return policy["Statement"][0]["Principal"]

    async def allows(self, access_key_id: str) -> bool:
        principal = self.here.credential(access_key_id).principal
        params = {"RoleArn": TARGET, "RoleSessionName": "s-2"}
        return await self.here.error("sts", "AssumeRole", principal, **params) is None


class Bucket(Carrier):
    async def build(self) -> None:
        await self.here.call("s3", "CreateBucket", Bucket="b-ucket")

    async def put(self, principal: Any) -> None:
        policy = document({"Effect": "Allow", "Principal": principal, "Action": "s3:ListBucket",
                           "Resource": BUCKET})  # fmt: skip
        await self.here.call("s3", "PutBucketPolicy", Bucket="b-ucket", Policy=policy)

    async def shown(self) -> Any:
        made = await self.here.call("s3", "GetBucketPolicy", Bucket="b-ucket")
        return json.loads(made["Policy"])["Statement"][0]["Principal"]

    async def allows(self, access_key_id: str) -> bool:
        principal = self.here.credential(access_key_id).principal
        return await self.here.error("s3", "ListObjectsV2", principal, Bucket="b-ucket") is None


class Function(Carrier):
    """AddPermission takes one name, PutResourcePolicy any principal."""

    async def build(self) -> None:
        await self.here.functions.create("f")

    async def put(self, principal: Any) -> None:
        policy = document({"Effect": "Allow", "Principal": principal, "Resource": FUNCTION,
                           "Action": "lambda:InvokeFunction"})  # fmt: skip
        await self.here.call("lambda", "PutResourcePolicy", ResourceArn=FUNCTION, Policy=policy)

    async def shown(self) -> Any:
        made = await self.here.call("lambda", "GetPolicy", FunctionName="f")
        return json.loads(made["Policy"])["Statement"][0]["Principal"]

    async def allows(self, access_key_id: str) -> bool:
        principal = self.here.credential(access_key_id).principal
        return await self.here.error("lambda", "Invoke", principal, FunctionName="f") is None


class Permission(Function):
    async def put(self, principal: Any) -> None:
        ((_, name),) = principal.items()
        with_id = {"FunctionName": "f", "StatementId": "s"}
        await self.here.error("lambda", "RemovePermission", **with_id)
        await self.here.call("lambda", "AddPermission", **with_id, Principal=name,
                             Action="lambda:InvokeFunction")  # fmt: skip


@pytest.fixture(params=[Trust, Bucket, Function, Permission])
async def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Carrier]:
    async with account(tmp_path) as here:
        made: Carrier = request.param(here)
        await made.build()
        yield made


async def _user(carrier: Carrier) -> str:
    """A new bob, who may assume roles."""
    sts = {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}
    return (await carrier.here.user("bob", sts)).access_key_id


async def _gone(here: Account, access_key_id: str) -> None:
    key = {"UserName": "bob", "AccessKeyId": access_key_id}
    await here.call("iam", "DeleteAccessKey", **key)
    await here.call("iam", "DeleteUserPolicy", UserName="bob", PolicyName="p")
    await here.call("iam", "DeleteUser", UserName="bob")


async def test_a_user_made_anew_gets_nothing(carrier: Carrier) -> None:
    here = carrier.here
    key = await _user(carrier)
    unique_id = here.credential(key).principal.unique_id
    await carrier.put({"AWS": BOB})
    assert await carrier.allows(key)
    assert await carrier.shown() == {"AWS": BOB}
    await _gone(here, key)
    assert await carrier.shown() == {"AWS": unique_id}
    again = await _user(carrier)
    assert not await carrier.allows(again)
    assert await carrier.shown() == {"AWS": unique_id}
    await carrier.put({"AWS": BOB})
    assert await carrier.allows(again)


async def test_a_user_who_is_renamed_stays_who_it_is(carrier: Carrier) -> None:
    key = await _user(carrier)
    await carrier.put({"AWS": BOB})
    await carrier.here.call("iam", "UpdateUser", UserName="bob", NewUserName="rob")
    assert await carrier.allows(key)
    assert await carrier.shown() == {"AWS": BOB.replace("bob", "rob")}


@pytest.mark.parametrize("named", [ROLE, SESSION])
async def test_a_role_made_anew_gets_nothing(carrier: Carrier, named: str) -> None:
    here = carrier.here
    role = {"RoleName": "r", "Path": "/team/",
            "AssumeRolePolicyDocument": trust({"Service": "lambda.amazonaws.com"})}  # fmt: skip

    async def made() -> str:
        await here.call("iam", "CreateRole", **role)
        may = {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}
        await here.call("iam", "PutRolePolicy", RoleName="r", PolicyName="p",
                        PolicyDocument=document(may))  # fmt: skip
        return here.functions.identity.issue_role_credentials(ROLE, "s-1", 3600).access_key_id

    key = await made()
    unique_id = here.credential(key).principal.unique_id
    if isinstance(carrier, Permission) and named == SESSION:
        await Function.put(carrier, {"AWS": named})
    else:
        await carrier.put({"AWS": named})
    assert await carrier.allows(key)
    assert await carrier.shown() == {"AWS": named}
    await here.call("iam", "DeleteRolePolicy", RoleName="r", PolicyName="p")
    await here.call("iam", "DeleteRole", RoleName="r")
    kept = unique_id if named == SESSION else unique_id.partition(":")[0]
    assert await carrier.shown() == {"AWS": kept}
    assert not await carrier.allows(await made())


@pytest.mark.parametrize(
    "principal",
    [
        {"AWS": BOB},
        {"AWS": ROLE},
        {"AWS": SESSION},
        {"AWS": "AIDANOBODYNOBODYNOBODY"},
        {"Service": "nosuch.amazonaws.com"},
        {"Service": "lambda.example.com"},
    ],
)
async def test_nobody_and_no_service_of_that_name(carrier: Carrier, principal: Any) -> None:
    if isinstance(carrier, Permission) and "AIDA" in str(principal):
        return  # the model takes no ids there
    with pytest.raises(AwsError) as refused:
        await carrier.put(principal)
    assert refused.value.status == 400
    said = "provided principal was invalid" if isinstance(carrier, Permission) else (
        "Invalid principal in policy"
    )  # fmt: skip
    assert said in refused.value.message


async def test_others_are_kept_as_they_are_written(carrier: Carrier) -> None:
    for principal in (
        {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
        {"AWS": "arn:aws:iam::111111111111:root"},
        {"AWS": "arn:aws:iam::111111111111:user/whoever"},
        {"Service": "s3.amazonaws.com"},
        {"Service": "logs.us-east-1.amazonaws.com"},
    ):
        await carrier.put(principal)
        assert await carrier.shown() == principal


async def test_an_id_may_be_named_itself(tmp_path: Path) -> None:
    """And an ARN outside of the principals is a text like another."""
    async with account(tmp_path) as here:
        carrier = Bucket(here)
        await carrier.build()
        key = await _user(carrier)
        unique_id = here.credential(key).principal.unique_id
        await carrier.put({"AWS": [unique_id, ACCOUNT]})
        assert await carrier.allows(key)
        assert await carrier.shown() == {"AWS": [BOB, ACCOUNT]}
        deny = {"Effect": "Deny", "NotPrincipal": {"AWS": [BOB, f"arn:aws:iam::{ACCOUNT}:root"]},
                "Action": "s3:ListBucket", "Resource": BUCKET,
                "Condition": {"ArnNotEquals": {"aws:PrincipalArn": ROLE}}}  # fmt: skip
        await here.call("s3", "PutBucketPolicy", Bucket="b-ucket", Policy=document(deny))
        shown = await here.call("s3", "GetBucketPolicy", Bucket="b-ucket")
        assert json.loads(shown["Policy"])["Statement"] == [deny]
        await here.let("bob", EVERYTHING)
        eve = await here.user("eve", EVERYTHING)
        assert await carrier.allows(key)
        assert not await carrier.allows(eve.access_key_id)
        await _gone(here, key)
        await _user(carrier)
        await here.let("bob", EVERYTHING)
        again = await here.call("iam", "ListAccessKeys", UserName="bob")
        (made,) = again["AccessKeyMetadata"]
        assert not await carrier.allows(made["AccessKeyId"])


@pytest.mark.parametrize(
    ("host", "there"),
    [
        ("lambda.amazonaws.com", True),
        ("edgelambda.amazonaws.com", True),
        ("delivery.logs.amazonaws.com", True),
        ("logs.eu-central-1.amazonaws.com", True),
        ("states.us-gov-west-1.amazonaws.com", True),
        ("ec2.amazonaws.com.cn", True),
        ("alexa-appkit.amazon.com", True),
        ("lambdas.amazonaws.com", False),
        ("lambda.nowhere.amazonaws.com", False),
        ("amazonaws.com", False),
        ("lambda", False),
        ("*.amazonaws.com", False),
    ],
)
def test_services_that_exist(host: str, there: bool) -> None:
    assert is_service(host) is there

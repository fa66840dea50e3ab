"""IAM's operations: what each refuses, and in which words."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boda.core.errors import AwsError
from boda.gateway.calling.models import Models
from support.dialects import DIALECTS
from support.identity import Platform, platform
from support.world import ACCOUNT

ALLOW = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
)
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": "lambda.amazonaws.com"},
            }
        ],
    }
)
ON_ACCOUNT = ("GetAccountSummary", "ListAccountAliases", "ListOpenIDConnectProviders")
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[Platform]:
    async with platform(tmp_path) as made:
        yield made


async def _refused(aws: Platform, operation: str, **params: Any) -> tuple[str, int, str]:
    with pytest.raises(AwsError) as caught:
        await aws.iam(operation, **params)
    return caught.value.code, caught.value.status, caught.value.message


@pytest.mark.parametrize(
    ("operation", "params", "message"),
    [
        ("GetUser", {"UserName": "x"}, "The user with name x cannot be found."),
        ("GetRole", {"RoleName": "x"}, "The role with name x cannot be found."),
        ("GetGroup", {"GroupName": "x"}, "The group with name x cannot be found."),
        (
            "GetPolicy",
            {"PolicyArn": f"arn:aws:iam::{ACCOUNT}:policy/x"},
            f"Policy arn:aws:iam::{ACCOUNT}:policy/x was not found.",
        ),
        (
            "GetRolePolicy",
            {"RoleName": "role", "PolicyName": "x"},
            "The role policy with name x cannot be found.",
        ),
        (
            "DeleteRolePolicy",
            {"RoleName": "role", "PolicyName": "x"},
            "The role policy with name x cannot be found.",
        ),
        (
            "DetachRolePolicy",
            {"RoleName": "role", "PolicyArn": BASIC},
            f"Policy {BASIC} was not found.",
        ),
        (
            "PutRolePermissionsBoundary",
            {"RoleName": "role", "PermissionsBoundary": "arn:aws:iam::aws:policy/Nope"},
            "Scope ARN: arn:aws:iam::aws:policy/Nope does not exist or is not attachable.",
        ),
        (
            "DeleteAccessKey",
            {"AccessKeyId": "AKIAAAAAAAAAAAAAAAAA"},
            "The Access Key with id AKIAAAAAAAAAAAAAAAAA cannot be found.",
        ),
        (
            "GetPolicyVersion",
            {"PolicyArn": BASIC, "VersionId": "v9"},
            f"Policy {BASIC} version v9 does not exist or is not attachable.",
        ),
    ],
)
async def test_what_does_not_exist(
    aws: Platform, operation: str, params: dict[str, Any], message: str
) -> None:
    await aws.iam("CreateRole", RoleName="role", AssumeRolePolicyDocument=TRUST)
    assert await _refused(aws, operation, **params) == ("NoSuchEntity", 404, message)


async def test_names_are_taken_whatever_their_case(aws: Platform) -> None:
    role = {"AssumeRolePolicyDocument": TRUST}
    await aws.iam("CreateUser", UserName="Bob")
    await aws.iam("CreateRole", RoleName="Bob", **role)
    await aws.iam("CreateGroup", GroupName="Bob")
    await aws.iam("CreatePolicy", PolicyName="Bob", PolicyDocument=ALLOW)
    taken = ("EntityAlreadyExists", 409)
    assert await _refused(aws, "CreateUser", UserName="bob") == (
        *taken,
        "User with name bob already exists.",
    )
    assert await _refused(aws, "CreateRole", RoleName="bob", **role) == (
        *taken,
        "Role with name bob already exists.",
    )
    assert await _refused(aws, "CreateGroup", GroupName="bob") == (
        *taken,
        "Group with name bob already exists.",
    )
    assert await _refused(aws, "CreatePolicy", PolicyName="bob", PolicyDocument=ALLOW) == (
        *taken,
        "A policy called bob already exists. Duplicate names are not allowed.",
    )


async def test_a_user_goes_only_when_nothing_hangs_on_it(aws: Platform) -> None:
    await aws.user("bob", ALLOW)
    await aws.iam("CreateGroup", GroupName="g")
    await aws.iam("AddUserToGroup", GroupName="g", UserName="bob")
    await aws.iam("AttachUserPolicy", UserName="bob", PolicyArn=BASIC)
    (key,) = (await aws.iam("ListAccessKeys", UserName="bob"))["AccessKeyMetadata"]
    steps: list[tuple[str, str, dict[str, str]]] = [
        ("must detach all policies first.", "DetachUserPolicy", {"PolicyArn": BASIC}),
        ("must delete policies first.", "DeleteUserPolicy", {"PolicyName": "p0"}),
        ("must remove users from group first.", "RemoveUserFromGroup", {"GroupName": "g"}),
        ("must delete access keys first.", "DeleteAccessKey", {"AccessKeyId": key["AccessKeyId"]}),
    ]
    for words, remedy, params in steps:
        assert await _refused(aws, "DeleteUser", UserName="bob") == (
            "DeleteConflict",
            409,
            f"Cannot delete entity, {words}",
        )
        await aws.iam(remedy, UserName="bob", **params)
    await aws.iam("DeleteUser", UserName="bob")
    assert (await aws.iam("ListUsers"))["Users"] == []


async def test_a_role_goes_only_without_policies(aws: Platform) -> None:
    await aws.iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    await aws.iam("AttachRolePolicy", RoleName="r", PolicyArn=BASIC)
    await aws.iam("PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=ALLOW)
    assert (await _refused(aws, "DeleteRole", RoleName="r"))[2].endswith(
        "detach all policies first."
    )
    await aws.iam("DetachRolePolicy", RoleName="r", PolicyArn=BASIC)
    assert (await _refused(aws, "DeleteRole", RoleName="r"))[2].endswith("delete policies first.")
    await aws.iam("DeleteRolePolicy", RoleName="r", PolicyName="p")
    await aws.iam("DeleteRole", RoleName="r")


async def test_versions_of_a_policy(aws: Platform) -> None:
    arn = (await aws.iam("CreatePolicy", PolicyName="p", PolicyDocument=ALLOW))["Policy"]["Arn"]
    for number in range(2, 6):
        made = await aws.iam("CreatePolicyVersion", PolicyArn=arn, PolicyDocument=ALLOW)
        assert made["PolicyVersion"]["VersionId"] == f"v{number}"
    assert (await _refused(aws, "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=ALLOW))[0] == (
        "LimitExceeded"
    )
    assert await _refused(aws, "DeletePolicyVersion", PolicyArn=arn, VersionId="v1") == (
        "DeleteConflict",
        409,
        "Cannot delete the default version of a policy.",
    )
    await aws.iam("SetDefaultPolicyVersion", PolicyArn=arn, VersionId="v5")
    await aws.iam("DeletePolicyVersion", PolicyArn=arn, VersionId="v1")
    listed = (await aws.iam("ListPolicyVersions", PolicyArn=arn))["Versions"]
    assert [(v["VersionId"], v["IsDefaultVersion"]) for v in listed] == [
        ("v5", True),
        ("v4", False),
        ("v3", False),
        ("v2", False),
    ]
    # A number is never used twice.
    made = await aws.iam(
        "CreatePolicyVersion", PolicyArn=arn, PolicyDocument=ALLOW, SetAsDefault=True
    )
    assert made["PolicyVersion"]["VersionId"] == "v6"
    assert (await _refused(aws, "DeletePolicy", PolicyArn=arn))[2].startswith(
        "This policy has more than one version."
    )


async def test_an_attached_policy_stays(aws: Platform) -> None:
    arn = (await aws.iam("CreatePolicy", PolicyName="p", PolicyDocument=ALLOW))["Policy"]["Arn"]
    await aws.iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    await aws.iam("CreateUser", UserName="u", PermissionsBoundary=arn)
    await aws.iam("AttachRolePolicy", RoleName="r", PolicyArn=arn)
    await aws.iam("AttachRolePolicy", RoleName="r", PolicyArn=arn)
    shown = (await aws.iam("GetPolicy", PolicyArn=arn))["Policy"]
    assert (shown["AttachmentCount"], shown["PermissionsBoundaryUsageCount"]) == (1, 1)
    used = await aws.iam("ListEntitiesForPolicy", PolicyArn=arn)
    assert [role["RoleName"] for role in used["PolicyRoles"]] == ["r"]
    assert [user["UserName"] for user in used["PolicyUsers"]] == ["u"]
    bounded = await aws.iam(
        "ListEntitiesForPolicy", PolicyArn=arn, PolicyUsageFilter="PermissionsBoundary"
    )
    assert bounded["PolicyRoles"] == []
    conflict = ("DeleteConflict", 409, "Cannot delete a policy attached to entities.")
    assert await _refused(aws, "DeletePolicy", PolicyArn=arn) == conflict
    await aws.iam("DetachRolePolicy", RoleName="r", PolicyArn=arn)
    assert await _refused(aws, "DeletePolicy", PolicyArn=arn) == conflict
    await aws.iam("DeleteUserPermissionsBoundary", UserName="u")
    await aws.iam("DeletePolicy", PolicyArn=arn)


async def test_limits(aws: Platform) -> None:
    await aws.user("bob")
    await aws.iam("CreateAccessKey", UserName="bob")
    exceeded = ("LimitExceeded", 409)
    assert await _refused(aws, "CreateAccessKey", UserName="bob") == (
        *exceeded,
        "Cannot exceed quota for AccessKeysPerUser: 2",
    )
    large = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::" + "b" * 6200}
            ],
        }
    )
    assert await _refused(aws, "CreatePolicy", PolicyName="p", PolicyDocument=large) == (
        *exceeded,
        "Cannot exceed quota for PolicySize: 6144",
    )
    assert await _refused(
        aws, "PutUserPolicy", UserName="bob", PolicyName="p", PolicyDocument=large
    ) == (*exceeded, "Maximum policy size of 2048 bytes exceeded for user bob")
    # White space is free.
    padded = ALLOW.replace("{", "{" + " " * 3000)
    await aws.iam("PutUserPolicy", UserName="bob", PolicyName="p", PolicyDocument=padded)
    await aws.iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    for number in range(10):
        made = await aws.iam("CreatePolicy", PolicyName=f"p{number}", PolicyDocument=ALLOW)
        await aws.iam("AttachRolePolicy", RoleName="r", PolicyArn=made["Policy"]["Arn"])
    assert await _refused(aws, "AttachRolePolicy", RoleName="r", PolicyArn=BASIC) == (
        *exceeded,
        "Cannot exceed quota for PoliciesPerRole: 10",
    )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{bad", "This policy contains invalid Json"),
        (
            TRUST.replace("lambda.amazonaws.com", "lambda"),
            'Invalid principal in policy: "SERVICE":"lambda"',
        ),
        (
            TRUST.replace(
                '"Service": "lambda.amazonaws.com"', f'"AWS": "arn:aws:iam::{ACCOUNT}:user/nobody"'
            ),
            f'Invalid principal in policy: "AWS":"arn:aws:iam::{ACCOUNT}:user/nobody"',
        ),
    ],
)
async def test_malformed_trust(aws: Platform, document: str, message: str) -> None:
    malformed = ("MalformedPolicyDocument", 400, message)
    assert (
        await _refused(aws, "CreateRole", RoleName="r", AssumeRolePolicyDocument=document)
        == malformed
    )
    await aws.iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    assert (
        await _refused(aws, "UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=document)
        == malformed
    )


async def test_pages_show_everybody_once(aws: Platform) -> None:
    names = [f"user-{number:02}" for number in range(7)]
    for name in names:
        await aws.iam("CreateUser", UserName=name, Path="/a/" if name < "user-05" else "/b/")
    seen: list[str] = []
    more: dict[str, Any] = {}
    while True:
        page = await aws.iam("ListUsers", MaxItems=3, **more)
        seen += [user["UserName"] for user in page["Users"]]
        if not page["IsTruncated"]:
            break
        more = {"Marker": page["Marker"]}
    assert seen == names
    below = (await aws.iam("ListUsers", PathPrefix="/b/"))["Users"]
    assert [user["UserName"] for user in below] == ["user-05", "user-06"]
    for marker in ("nonsense", "é", "MTpx!"):
        assert (await _refused(aws, "ListUsers", Marker=marker))[0] == "ValidationError"


async def test_tags(aws: Platform) -> None:
    await aws.iam("CreateUser", UserName="bob", Tags=[{"Key": "Team", "Value": "red"}])
    await aws.iam("TagUser", UserName="bob", Tags=[{"Key": "team", "Value": "blue"}])
    await aws.iam("TagUser", UserName="bob", Tags=[{"Key": "a", "Value": ""}])
    listed = await aws.iam("ListUserTags", UserName="bob")
    assert listed["Tags"] == [{"Key": "a", "Value": ""}, {"Key": "team", "Value": "blue"}]
    await aws.iam("UntagUser", UserName="bob", TagKeys=["TEAM", "absent"])
    assert (await aws.iam("GetUser", UserName="bob"))["User"]["Tags"] == [{"Key": "a", "Value": ""}]
    twice = [{"Key": "k", "Value": "1"}, {"Key": "K", "Value": "2"}]
    assert await _refused(aws, "TagUser", UserName="bob", Tags=twice) == (
        "InvalidInput",
        400,
        "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
    )
    many = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    assert (await _refused(aws, "TagUser", UserName="bob", Tags=many))[0] == "LimitExceeded"


async def test_a_renamed_user_stays_who_it_was(aws: Platform) -> None:
    await aws.user("bob", ALLOW)
    await aws.iam("CreateGroup", GroupName="g")
    await aws.iam("AddUserToGroup", GroupName="g", UserName="bob")
    (key,) = (await aws.iam("ListAccessKeys", UserName="bob"))["AccessKeyMetadata"]
    await aws.iam("UpdateUser", UserName="bob", NewUserName="robert", NewPath="/x/")
    principal = aws.principal(key["AccessKeyId"])
    assert principal.arn == f"arn:aws:iam::{ACCOUNT}:user/x/robert"
    assert aws.identity.permissions(principal).identity
    members = (await aws.iam("GetGroup", GroupName="g"))["Users"]
    assert [user["UserName"] for user in members] == ["robert"]
    assert (await _refused(aws, "GetUser", UserName="bob"))[0] == "NoSuchEntity"


async def test_a_call_without_a_name_means_the_caller(aws: Platform) -> None:
    bob = await aws.user("bob", ALLOW)
    assert (await aws.iam("GetUser", bob))["User"]["UserName"] == "bob"
    assert (await aws.iam("CreateAccessKey", bob))["AccessKey"]["UserName"] == "bob"
    root = (await aws.iam("GetUser"))["User"]
    assert (root["UserId"], root["Arn"]) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root")
    await aws.iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    await aws.iam("PutRolePolicy", RoleName="r", PolicyName="p", PolicyDocument=ALLOW)
    session = aws.identity.principal_of_role(f"arn:aws:iam::{ACCOUNT}:role/r", "s")
    assert session is not None
    with pytest.raises(AwsError) as caught:
        await aws.iam("GetUser", session)
    assert (caught.value.code, caught.value.message) == (
        "ValidationError",
        "Must specify userName when calling with non-User credentials",
    )


async def test_aws_own_policies(aws: Platform) -> None:
    page = await aws.iam("ListPolicies", Scope="AWS", MaxItems=1000)
    assert page["IsTruncated"]
    rest = await aws.iam("ListPolicies", Scope="AWS", MaxItems=1000, Marker=page["Marker"])
    assert not rest["IsTruncated"]
    listed = page["Policies"] + rest["Policies"]
    assert {policy["Arn"] for policy in listed} >= {BASIC}
    assert (await aws.iam("ListPolicies", Scope="Local"))["Policies"] == []
    found = await aws.iam("GetPolicyVersion", PolicyArn=BASIC, VersionId="v1")
    assert "logs%3APutLogEvents" in found["PolicyVersion"]["Document"]
    assert (await _refused(aws, "DeletePolicy", PolicyArn=BASIC))[:2] == ("AccessDenied", 403)
    for policy in listed:
        await aws.iam("GetPolicy", PolicyArn=policy["Arn"])
        assert policy["AttachmentCount"] == 0


async def test_every_operation_asks_for_its_own_permission(aws: Platform) -> None:
    """A user who may do nothing may do nothing, and reads which permission is missing."""
    nobody = await aws.user("nobody")
    params: dict[str, Any] = {
        "UserName": "u",
        "NewUserName": "n",
        "GroupName": "g",
        "NewGroupName": "n",
        "RoleName": "r",
        "PolicyName": "p",
        "PolicyArn": BASIC,
        "PolicyDocument": ALLOW,
        "AssumeRolePolicyDocument": TRUST,
        "PermissionsBoundary": BASIC,
        "VersionId": "v1",
        "AccessKeyId": "AKIAAAAAAAAAAAAAAAAA",
        "Status": "Inactive",
        "Description": "d",
        "Tags": [{"Key": "k", "Value": "v"}],
        "TagKeys": ["k"],
    }
    from boda.gateway.calling.models import Models

    model = Models(dialects=DIALECTS).service("iam")
    service = aws.gateway._installed["iam"].service
    assert len(service.operations) > 60
    for name in service.operations:
        shape = model.operation_model(name).input_shape
        wanted = {key: params[key] for key in shape.required_members} if shape else {}
        with pytest.raises(AwsError) as caught:
            await aws.iam(name, nobody, **wanted)
        assert caught.value.code == "AccessDenied", name
        resource = "* because" if name in ON_ACCOUNT else "arn:aws:iam::"
        assert f"is not authorized to perform: iam:{name} on resource: {resource}" in (
            caught.value.message
        )


async def test_the_account_is_summed_up(aws: Platform) -> None:
    before = (await aws.iam("GetAccountSummary"))["SummaryMap"]
    assert (before["Users"], before["Roles"], before["Groups"], before["Policies"]) == (0, 0, 0, 0)
    await aws.user("ann", ALLOW)
    await aws.iam("CreateRole", RoleName="r", AssumeRolePolicyDocument=TRUST)
    await aws.iam("CreateGroup", GroupName="g")
    made = await aws.iam("CreatePolicy", PolicyName="p", PolicyDocument=ALLOW)
    await aws.iam("CreatePolicyVersion", PolicyArn=made["Policy"]["Arn"], PolicyDocument=ALLOW)
    after = (await aws.iam("GetAccountSummary"))["SummaryMap"]
    changed = {name: after[name] for name in after if after[name] != before[name]}
    assert changed == {"Users": 1, "Roles": 1, "Groups": 1, "Policies": 1, "PolicyVersionsInUse": 2}
    model = Models(dialects=DIALECTS).service("iam")
    assert after.keys() == set(model.shape_for("summaryKeyType").enum)
    assert after["VersionsPerPolicyQuota"] == 5 and after["MFADevices"] == 0


async def test_what_no_account_has_is_listed_empty(aws: Platform) -> None:
    aliases = await aws.iam("ListAccountAliases")
    assert aliases == {"AccountAliases": [], "IsTruncated": False}
    profiles = await aws.iam("ListInstanceProfiles", PathPrefix="/x/", MaxItems=5)
    assert profiles == {"InstanceProfiles": [], "IsTruncated": False}
    assert await aws.iam("ListOpenIDConnectProviders") == {"OpenIDConnectProviderList": []}


@pytest.mark.parametrize(
    ("operation", "resource"),
    [
        *((operation, "*") for operation in ON_ACCOUNT),
        ("ListInstanceProfiles", f"arn:aws:iam::{ACCOUNT}:instance-profile/*"),
    ],
)
async def test_the_account_is_told_of_to_whoever_may(
    aws: Platform, operation: str, resource: str
) -> None:
    statement = {"Effect": "Allow", "Action": f"iam:{operation}", "Resource": resource}
    may = await aws.user("may", json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    assert await aws.iam(operation, may)
    may_not = await aws.user("may-not")
    with pytest.raises(AwsError, match=f"not authorized to perform: iam:{operation}"):
        await aws.iam(operation, may_not)

"""IAM and STS answer as AWS was recorded to answer, read through the AWS SDK."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from boda.core.clock import SystemClock
from support.golden import golden
from support.identity import platform
from support.world import answer, client, served

ACCOUNT = "000000000000"
_TOKEN = re.compile(r"<[a-z-]+(?::\d+)?>")

LAMBDA_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}


def _alone(value: Any) -> bool:
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


class Recording:
    """One recorded case. A token stands for any text, the same one each time."""

    def __init__(self, file: str, case: str) -> None:
        found = json.loads(golden(f"recorded/{file}").read_text())
        (self._steps,) = (
            entry["recorded-content"] for name, entry in found.items() if name.endswith(case)
        )
        self._bound: dict[str, str] = {}

    def check(self, step: str, seen: Any) -> None:
        self._same(self._steps[step], seen, step)

    def _same(self, recorded: Any, seen: Any, where: str) -> None:
        if isinstance(recorded, dict):
            assert isinstance(seen, dict), where
            recorded = {k: v for k, v in recorded.items() if k != "ResponseMetadata"}
            status = seen.get("ResponseMetadata", {}).get("HTTPStatusCode")
            if status is not None:
                assert status == self._status(where), where
            seen = {k: v for k, v in seen.items() if k != "ResponseMetadata"}
            assert sorted(recorded) == sorted(seen), where
            # What is a token alone binds it, before texts that hold several.
            for key, value in sorted(recorded.items(), key=lambda item: not _alone(item[1])):
                self._same(value, seen[key], f"{where}.{key}")
        elif isinstance(recorded, list):
            assert len(recorded) == len(seen), where
            for number, value in enumerate(recorded):
                self._same(value, seen[number], f"{where}[{number}]")
        elif recorded == "<datetime>":
            assert isinstance(seen, datetime), where
        elif isinstance(recorded, str):
            self._same_text(recorded, seen, where)
        else:
            assert recorded == seen, where

    def _status(self, where: str) -> int:
        status = self._steps[where]["ResponseMetadata"]["HTTPStatusCode"]
        assert isinstance(status, int)
        return status

    def _same_text(self, recorded: str, seen: str, where: str) -> None:
        recorded = recorded.replace("111111111111", ACCOUNT).replace("<partition>", "aws")
        recorded = recorded.replace("<region>", "us-east-1")
        source, at, tokens = "", 0, []
        for match in _TOKEN.finditer(recorded):
            token = match.group()
            source += re.escape(recorded[at : match.start()])
            at = match.end()
            if token in self._bound:
                source += re.escape(self._bound[token])
            elif token in tokens:
                source += f"(?P=t{tokens.index(token)})"
            else:
                source += f"(?P<t{len(tokens)}>.+?)"
                tokens.append(token)
        fits = re.fullmatch(source + re.escape(recorded[at:]), seen, re.DOTALL)
        assert fits, f"{where}: {recorded!r} was recorded, {seen!r} answered"
        for number, token in enumerate(tokens):
            self._bound[token] = fits.group(f"t{number}")


class Clients:
    def __init__(self, iam: Any, sts: Any, endpoint: str) -> None:
        self.iam, self.sts, self.endpoint = iam, sts, endpoint


@pytest.fixture
async def aws(tmp_path: Path) -> AsyncIterator[Clients]:
    async with platform(tmp_path, SystemClock()) as made, served(made.gateway) as endpoint:
        root = made.identity.root_credential()
        yield Clients(client("iam", endpoint, root), client("sts", endpoint, root), endpoint)


async def test_a_role_with_a_path(aws: Clients) -> None:
    case = Recording("iam/test_iam.snapshot.json", "test_role_with_path_lifecycle")
    created = await answer(
        aws.iam.create_role,
        RoleName="role-1",
        Path="/path/",
        AssumeRolePolicyDocument=json.dumps(LAMBDA_TRUST),
    )
    case.check("create-role-response", created)
    case.check("get-role-response", await answer(aws.iam.get_role, RoleName="role-1"))
    case.check("delete-role-response", await answer(aws.iam.delete_role, RoleName="role-1"))


async def test_roles_with_a_boundary_are_listed(aws: Clients) -> None:
    case = Recording("iam/test_iam.snapshot.json", "test_list_roles_with_permission_boundary")
    trust = json.dumps(LAMBDA_TRUST).replace("lambda.", "ec2.")
    created = await answer(
        aws.iam.create_role,
        RoleName="role-1",
        Path="/prefix/",
        AssumeRolePolicyDocument=trust,
        PermissionsBoundary="arn:aws:iam::aws:policy/ReadOnlyAccess",
    )
    case.check("created_role", created)
    case.check("list_roles_result", await answer(aws.iam.list_roles, PathPrefix="/prefix/"))


@pytest.mark.parametrize("kind", ["role", "user"])
async def test_attaching_policies(aws: Clients, kind: str) -> None:
    case = Recording("iam/test_iam.snapshot.json", f"test_{kind}_attach_policy")
    name = {f"{kind.capitalize()}Name": "somebody"}
    if kind == "role":
        await answer(aws.iam.create_role, **name, AssumeRolePolicyDocument=json.dumps(LAMBDA_TRUST))
        attach = aws.iam.attach_role_policy
    else:
        await answer(aws.iam.create_user, **name)
        attach = aws.iam.attach_user_policy
    policy_name = "test-policy-of-some-length"
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "lambda:*", "Resource": "*"}],
    }
    created = await answer(
        aws.iam.create_policy, PolicyName=policy_name, PolicyDocument=json.dumps(document)
    )
    case.check("create_policy_response", created)
    arn = created["Policy"]["Arn"]
    case.check(
        "non_existent_malformed_policy_arn",
        await answer(attach, **name, PolicyArn="longerpolicynamebutnotanarn"),
    )
    case.check("existing_policy_name_provided", await answer(attach, **name, PolicyArn=policy_name))
    case.check("valid_arn_not_existent", await answer(attach, **name, PolicyArn=arn + "123"))
    case.check("valid_policy_arn", await answer(attach, **name, PolicyArn=arn))


async def test_documents_keep_their_encoding(aws: Clients) -> None:
    case = Recording("iam/test_iam.snapshot.json", "test_put_role_policy_encoding")
    target = "arn%3Aaws%3Aapigateway%3Aus-east-1%3A%3A%2Frestapis%2Faaeeieije"
    trust = json.loads(json.dumps(LAMBDA_TRUST))
    trust["Statement"][0]["Condition"] = {"StringEquals": {"aws:SourceArn": target}}
    created = await answer(
        aws.iam.create_role,
        RoleName="role-1",
        Path="/here/",
        AssumeRolePolicyDocument=json.dumps(trust),
    )
    case.check("create-role-response", created)
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["apigatway:PUT"],
                "Resource": [f"arn:aws:apigateway:us-east-1::/tags/{target}"],
            }
        ],
    }
    await answer(
        aws.iam.put_role_policy,
        RoleName="role-1",
        PolicyName="policy-1",
        PolicyDocument=json.dumps(document),
    )
    found = await answer(aws.iam.get_role_policy, RoleName="role-1", PolicyName="policy-1")
    case.check("get-policy-response", found)
    case.check("get-role-response", await answer(aws.iam.get_role, RoleName="role-1"))
    case.check("list-roles-response", await answer(aws.iam.list_roles, PathPrefix="/here/"))


async def test_a_managed_policy(aws: Clients) -> None:
    case = Recording(
        "iam/resource_providers/test_iam.snapshot.json", "test_managed_policy_with_empty_resource"
    )
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "dynamodb:*", "Resource": "*"}],
    }
    created = await answer(
        aws.iam.create_policy, PolicyName="p", PolicyDocument=json.dumps(document)
    )
    arn = created["Policy"]["Arn"]
    case.check("managed_policy", await answer(aws.iam.get_policy, PolicyArn=arn))


def _account_trust(*actions: str) -> str:
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"AWS": ACCOUNT},
                    "Action": list(actions) if len(actions) > 1 else actions[0],
                }
            ],
        }
    )


async def test_assuming_a_role(aws: Clients) -> None:
    case = Recording("sts/test_sts.snapshot.json", "test_assume_role")
    case.check("role-session-name", {"RoleSessionName": "session-1"})
    created = await answer(
        aws.iam.create_role,
        RoleName="role-1",
        AssumeRolePolicyDocument=_account_trust("sts:AssumeRole"),
    )
    case.check("create-role", created)
    assumed = await answer(
        aws.sts.assume_role, RoleArn=created["Role"]["Arn"], RoleSessionName="session-1"
    )
    case.check("assume-role", assumed)
    who = await answer(client("sts", aws.endpoint, assumed["Credentials"]).get_caller_identity)
    assert who["Arn"] == assumed["AssumedRoleUser"]["Arn"]


async def test_federation(aws: Clients) -> None:
    case = Recording("sts/test_sts.snapshot.json", "test_get_federation_token")
    found = await answer(aws.sts.get_federation_token, Name="somebody", DurationSeconds=1500)
    case.check("get-federation-token", found)


async def test_transitive_tags_cannot_be_changed(aws: Clients) -> None:
    case = Recording(
        "sts/test_sts.snapshot.json", "test_iam_role_chaining_override_transitive_tags"
    )
    arns = []
    for number in (1, 2):
        created = await answer(
            aws.iam.create_role,
            RoleName=f"role-{number}",
            AssumeRolePolicyDocument=_account_trust("sts:AssumeRole", "sts:TagSession"),
        )
        case.check(f"role-{number}", created)
        arns.append(created["Role"]["Arn"])
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sts:*", "Resource": arns[1]}],
    }
    await answer(
        aws.iam.put_role_policy,
        RoleName="role-1",
        PolicyName="p",
        PolicyDocument=json.dumps(document),
    )
    first = await answer(
        aws.sts.assume_role,
        RoleArn=arns[0],
        RoleSessionName="session",
        Tags=[{"Key": "SessionTag1", "Value": "one"}],
        TransitiveTagKeys=["SessionTag1"],
    )
    chained = client("sts", aws.endpoint, first["Credentials"])
    for step, key in (
        ("override-transitive-tag-error", "SessionTag1"),
        ("override-transitive-tag-case-ignore-error", "sessiontag1"),
    ):
        refused = await answer(
            chained.assume_role,
            RoleArn=arns[1],
            RoleSessionName="session",
            Tags=[{"Key": key, "Value": "two"}],
        )
        case.check(step, refused)

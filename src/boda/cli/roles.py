"""The execution role that ``boda deploy`` makes for a function, and its policies."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boda.cli.options import absolute
from boda.core.arn import Arn, build, is_arn
from boda.core.errors import PlatformError

_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}
_BASIC = build("iam", "", "aws", "policy/service-role/AWSLambdaBasicExecutionRole")
_PATH = "/boda-deploy/"
_TAG = "boda-deploy:function"
_MAX_NAME = 64


@dataclass(frozen=True, slots=True)
class RolePolicies:
    """The permissions of a role beside writing logs. attached: ARNs. inline: documents by name."""

    attached: tuple[str, ...]
    inline: dict[str, Any]


def read_policies(words: Sequence[str]) -> RolePolicies:
    """Read policies from ARNs and files. Raises PlatformError for any other word."""
    attached: list[str] = []
    inline: dict[str, Any] = {}
    for word in words:
        if is_arn(word):
            found = Arn.read(word)
            if found is None or found.service != "iam" or not found.resource.startswith("policy/"):
                raise PlatformError(f"--policy: {word} is not the ARN of a policy.")
            attached.append(word)
            continue
        file = absolute(Path(word))
        name = re.sub(r"[^\w+=,.@-]", "-", file.stem, flags=re.ASCII)[:128]
        if name in inline:
            raise PlatformError(f"--policy: two files are named {name}.")
        inline[name] = _document(file, word)
    return RolePolicies(tuple(dict.fromkeys(attached)), inline)


def _document(file: Path, word: str) -> Any:
    try:
        text = file.read_text("utf-8-sig")
    except FileNotFoundError:
        raise PlatformError(
            f"--policy takes a file or an ARN like arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess; "
            f"there is no file {word}."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PlatformError(f"--policy: {word} cannot be read: {reason}.") from None
    try:
        found = json.loads(text)
    except ValueError as error:
        raise PlatformError(f"--policy: {word} is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise PlatformError(f"--policy: {word} is not a policy document, which is a JSON object.")
    return found


def role_name(function: str, region: str) -> str:
    """Return the role's name, with the region: IAM has none, so two functions need two roles."""
    name = f"boda-{function}-{region}"
    if len(name) <= _MAX_NAME:
        return name
    return f"{name[: _MAX_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def own_role(iam: Any, function: str, region: str) -> dict[str, Any] | None:
    """Return the role that was made for the function, or None.

    Raises PlatformError if a role of its name was made otherwise.
    """
    name = role_name(function, region)
    try:
        found: dict[str, Any] = iam.get_role(RoleName=name)["Role"]
    except iam.exceptions.NoSuchEntityException:
        return None
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}
    if tags.get(_TAG) != f"{region}/{function}":
        raise PlatformError(
            f"There is a role {name} that `boda deploy` did not make; name a role with --role."
        )
    return found


def ensure_role(iam: Any, function: str, region: str, policies: RolePolicies | None) -> str:
    """Make the function's role if there is none, and give it exactly these policies.

    policies: None leaves those of an existing role. Return the ARN. Raises PlatformError.
    """
    role = own_role(iam, function, region)
    if role is None:
        role = iam.create_role(
            RoleName=role_name(function, region),
            Path=_PATH,
            AssumeRolePolicyDocument=json.dumps(_TRUST),
            Description=f"Made by boda deploy for the function {function}",
            Tags=[{"Key": _TAG, "Value": f"{region}/{function}"}],
        )["Role"]
        policies = policies or RolePolicies((), {})
    if policies is not None:
        _apply(iam, role["RoleName"], policies)
    return str(role["Arn"])


def _apply(iam: Any, role: str, policies: RolePolicies) -> None:
    wanted = {_BASIC, *policies.attached}
    present = set(attached_policies(iam, role))
    for arn in sorted(wanted - present):
        iam.attach_role_policy(RoleName=role, PolicyArn=arn)
    for arn in sorted(present - wanted):
        iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    names = set(inline_policies(iam, role))
    for name, document in policies.inline.items():
        if name in names:
            found = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            if found == document:
                continue
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
    for name in sorted(names - set(policies.inline)):
        iam.delete_role_policy(RoleName=role, PolicyName=name)


def attached_policies(iam: Any, role: str) -> list[str]:
    pages = iam.get_paginator("list_attached_role_policies").paginate(RoleName=role)
    return [one["PolicyArn"] for page in pages for one in page["AttachedPolicies"]]


def inline_policies(iam: Any, role: str) -> list[str]:
    pages = iam.get_paginator("list_role_policies").paginate(RoleName=role)
    return [name for page in pages for name in page["PolicyNames"]]


def delete_role(iam: Any, role: str) -> None:
    """Delete a role with its policies."""
    for arn in attached_policies(iam, role):
        iam.detach_role_policy(RoleName=role, PolicyArn=arn)
    for name in inline_policies(iam, role):
        iam.delete_role_policy(RoleName=role, PolicyName=name)
    iam.delete_role(RoleName=role)

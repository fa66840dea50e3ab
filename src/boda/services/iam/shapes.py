"""IAM's entities in the form of answers, by the model's member names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from boda.core.tags import as_list
from boda.services.iam.entities import (
    AccessKey,
    Document,
    Group,
    ManagedPolicy,
    PolicyVersion,
    Role,
    Tags,
    User,
)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def encoded(document: Document) -> str:
    """Percent-encode a document (RFC 3986), as it stands in IAM's XML."""
    return quote(document.text, safe="")


def tags(found: Tags) -> list[dict[str, str]]:
    return as_list(dict(found))


def _bounded(arn: str) -> dict[str, Any]:
    if not arn:
        return {}
    return {
        "PermissionsBoundary": {
            "PermissionsBoundaryType": "PermissionsBoundaryPolicy",
            "PermissionsBoundaryArn": arn,
        }
    }


def _tagged(found: Tags) -> dict[str, Any]:
    return {"Tags": tags(found)} if found else {}


def listed_user(user: User) -> dict[str, Any]:
    return {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.unique_id,
        "Arn": user.arn,
        "CreateDate": moment(user.created_at),
    }


def user(found: User) -> dict[str, Any]:
    return {**listed_user(found), **_bounded(found.boundary), **_tagged(found.tags)}


def group(found: Group) -> dict[str, Any]:
    return {
        "Path": found.path,
        "GroupName": found.name,
        "GroupId": found.unique_id,
        "Arn": found.arn,
        "CreateDate": moment(found.created_at),
    }


def _role(found: Role) -> dict[str, Any]:
    shown = {
        "Path": found.path,
        "RoleName": found.name,
        "RoleId": found.unique_id,
        "Arn": found.arn,
        "CreateDate": moment(found.created_at),
        "AssumeRolePolicyDocument": encoded(found.trust_document),
    }
    if found.description:
        shown["Description"] = found.description
    return shown


def created_role(found: Role, *, with_duration: bool) -> dict[str, Any]:
    """Return CreateRole's answer: less than GetRole's; the duration only if the caller gave it."""
    shown = {**_role(found), **_tagged(found.tags)}
    if with_duration:
        shown["MaxSessionDuration"] = found.max_session_s
    return shown


def listed_role(found: Role) -> dict[str, Any]:
    return {**_role(found), "MaxSessionDuration": found.max_session_s}


def role(found: Role) -> dict[str, Any]:
    """Return a role. RoleLastUsed is empty, as on AWS for a role without recorded use: boda records
    none."""
    return {
        **listed_role(found),
        **_bounded(found.boundary),
        **_tagged(found.tags),
        "RoleLastUsed": {},
    }


def listed_policy(
    found: ManagedPolicy, attached: Mapping[str, int], bounding: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "PolicyName": found.name,
        "PolicyId": found.unique_id,
        "Arn": found.arn,
        "Path": found.path,
        "DefaultVersionId": found.default_version,
        "AttachmentCount": attached.get(found.arn, 0),
        "PermissionsBoundaryUsageCount": bounding.get(found.arn, 0),
        "IsAttachable": True,
        "CreateDate": moment(found.created_at),
        "UpdateDate": moment(found.updated_at),
    }


def policy(
    found: ManagedPolicy, attached: Mapping[str, int], bounding: Mapping[str, int]
) -> dict[str, Any]:
    shown = {**listed_policy(found, attached, bounding), "Tags": tags(found.tags)}
    if found.description:
        shown["Description"] = found.description
    return shown


def listed_version(found: ManagedPolicy, version: PolicyVersion) -> dict[str, Any]:
    return {
        "VersionId": version.name,
        "IsDefaultVersion": version.name == found.default_version,
        "CreateDate": moment(version.created_at),
    }


def version(found: ManagedPolicy, one: PolicyVersion) -> dict[str, Any]:
    return {"Document": encoded(one.document), **listed_version(found, one)}


def listed_key(key: AccessKey, user_name: str) -> dict[str, Any]:
    """Return a listed key. The root user's keys have no user name."""
    return {
        **({"UserName": user_name} if user_name else {}),
        "AccessKeyId": key.access_key_id,
        "Status": "Active" if key.active else "Inactive",
        "CreateDate": moment(key.created_at),
    }

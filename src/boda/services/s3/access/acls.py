"""Access control lists: the owner has full control, nothing else is offered.

S3 itself turned lists off for new buckets in 2023 (BucketOwnerEnforced); permissions are given by
policies. A request for a list beyond ``private`` is validated as S3 does and then answered "not
implemented".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boda.core.errors import AwsError, not_implemented
from boda.services.s3 import errors, names
from boda.services.s3.buckets.store import Bucket

OWNERSHIPS = ("BucketOwnerPreferred", "ObjectWriter", "BucketOwnerEnforced")
ENFORCED = "BucketOwnerEnforced"
_CANNED = {
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
}
_FULL_CONTROL = "bucket-owner-full-control"


def check_ownership(value: str) -> str:
    if value not in OWNERSHIPS:
        raise AwsError(
            "InvalidArgument",
            f"Invalid x-amz-object-ownership header: {value}",
            ArgumentName="x-amz-object-ownership",
        )
    return value


def check_object(acl: str | None, operation: str, bucket: Bucket, account: str) -> None:
    """Check the canned ACL of a new object. account: the caller's.

    ``private`` changes nothing if the bucket's own account writes, whatever the bucket's ownership
    setting; older clients send it with each object.
    """
    if acl == "private" and account == bucket.account:
        return
    check_canned(acl, operation, bucket.settings.get("ownership"))


def check_canned(
    acl: str | None, operation: str, ownership: str | None, *, bucket_acl: bool = False
) -> None:
    """Accept an ACL that changes nothing here; refuse others as S3 does, or as not implemented."""
    if not acl:
        return
    if acl not in _CANNED:
        raise AwsError("InvalidArgument", "", ArgumentName="x-amz-acl", ArgumentValue=acl)
    if operation == "CreateBucket":
        if acl == "private":
            return
        if ownership == ENFORCED:
            raise AwsError(
                "InvalidBucketAclWithObjectOwnership",
                "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
            )
    elif acl == _FULL_CONTROL and not bucket_acl:
        return
    elif ownership == ENFORCED:
        raise unsupported()
    elif acl == "private":
        return
    raise not_implemented("s3", operation, f"the canned ACL {acl}")


def check_put(
    operation: str,
    ownership: str | None,
    acl: str | None,
    policy: Mapping[str, Any] | None,
    grants: Mapping[str, str | None],
) -> None:
    """Check the parameters of PutBucketAcl and PutObjectAcl. grants: by their header names."""
    acl = acl or None
    given = {header: value for header, value in grants.items() if value is not None}
    if acl is not None and given:
        raise errors.invalid_request("Specifying both Canned ACLs and Header Grants is not allowed")
    if (acl is not None or given) and policy:
        raise AwsError("UnexpectedContent", "This request does not support content")
    if acl is None and not given and policy is None:
        raise AwsError(
            "MissingSecurityHeader",
            "Your request was missing a required header",
            MissingHeaderName="x-amz-acl",
        )
    if acl is not None and acl not in _CANNED:
        raise AwsError("InvalidArgument", "", ArgumentName="x-amz-acl", ArgumentValue=acl)
    for header, value in given.items():
        _check_grant(header, value)
    if policy is not None and acl is None and not given:
        _check_policy(policy)
    if ownership == ENFORCED and acl != _FULL_CONTROL:
        raise unsupported()
    if policy is not None and _owner_alone(policy):
        return
    if acl is None:
        raise not_implemented("s3", operation, "grants")
    check_canned(acl, operation, ownership, bucket_acl=operation == "PutBucketAcl")


def owner_alone(account: str) -> dict[str, Any]:
    """Return the only list there is, in the form of GetBucketAcl and GetObjectAcl."""
    owner = names.canonical_id(account)
    return {
        "Owner": {"ID": owner},
        "Grants": [
            {"Grantee": {"ID": owner, "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}
        ],
    }


def unsupported() -> AwsError:
    return AwsError("AccessControlListNotSupported", "The bucket does not allow ACLs")


def _check_grant(header: str, value: str) -> None:
    for grantee in value.split(","):
        kind, _, name = grantee.strip().partition("=")
        name = name.strip('"')
        if kind not in ("id", "uri", "emailAddress"):
            raise errors.invalid_argument(header, value, "Argument format not recognized")
        if kind == "id" and not _is_canonical(name):
            raise errors.invalid_argument("id", name, "Invalid id")
        if kind == "uri" and name not in _GROUPS:
            raise errors.invalid_argument("uri", name, "Invalid group uri")


_GROUPS = {
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
    "http://acs.amazonaws.com/groups/s3/LogDelivery",
}
_PERMISSIONS = ("FULL_CONTROL", "WRITE", "WRITE_ACP", "READ", "READ_ACP")


def _malformed() -> AwsError:
    return AwsError("MalformedACLError", errors.MALFORMED_XML)


def _check_policy(policy: Mapping[str, Any]) -> None:
    owner, grants = policy.get("Owner"), policy.get("Grants")
    if not owner or not owner.get("ID") or grants is None:
        raise _malformed()
    if not _is_canonical(owner["ID"]):
        raise errors.invalid_argument("CanonicalUser/ID", owner["ID"], "Invalid id")
    for grant in grants:
        grantee = grant.get("Grantee") or {}
        if grant.get("Permission") not in _PERMISSIONS:
            raise _malformed()
        match grantee.get("Type"):
            case "CanonicalUser":
                if not _is_canonical(grantee.get("ID") or ""):
                    raise errors.invalid_argument(
                        "CanonicalUser/ID", grantee.get("ID"), "Invalid id"
                    )
            case "Group":
                if grantee.get("URI") not in _GROUPS:
                    raise errors.invalid_argument(
                        "Group/URI", grantee.get("URI"), "Invalid group uri"
                    )
            case "AmazonCustomerByEmail":
                pass
            case _:
                raise _malformed()


def _owner_alone(policy: Mapping[str, Any]) -> bool:
    owner = (policy.get("Owner") or {}).get("ID")
    grants = policy.get("Grants") or ()
    return (
        all(
            (grant.get("Grantee") or {}).get("ID") == owner
            and grant.get("Permission") == "FULL_CONTROL"
            for grant in grants
        )
        and len(grants) == 1
    )


def _is_canonical(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdef" for digit in text)

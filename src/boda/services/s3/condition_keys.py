"""S3's own condition keys, and the source of each. Pure.

Source: Service Authorization Reference, "Condition keys for Amazon S3"; Amazon S3 API Reference,
"Amazon S3 Signature Version 4 authentication specific policy keys".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boda.gateway.asking import tag_keys
from boda.gateway.asking.tag_keys import Keys
from boda.gateway.http.wire import WireRequest
from boda.gateway.signing.claim import Claim
from boda.services.s3 import tags

_HEADERS = {
    "ACL": "s3:x-amz-acl",
    "CopySource": "s3:x-amz-copy-source",
    "GrantFullControl": "s3:x-amz-grant-full-control",
    "GrantRead": "s3:x-amz-grant-read",
    "GrantReadACP": "s3:x-amz-grant-read-acp",
    "GrantWrite": "s3:x-amz-grant-write",
    "GrantWriteACP": "s3:x-amz-grant-write-acp",
    "IfMatch": "s3:if-match",
    "IfNoneMatch": "s3:if-none-match",
    "MetadataDirective": "s3:x-amz-metadata-directive",
    "ObjectLockLegalHoldStatus": "s3:object-lock-legal-hold",
    "ObjectLockMode": "s3:object-lock-mode",
    "ObjectOwnership": "s3:x-amz-object-ownership",
    "SSECustomerAlgorithm": "s3:x-amz-server-side-encryption-customer-algorithm",
    "SSEKMSKeyId": "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "ServerSideEncryption": "s3:x-amz-server-side-encryption",
    "StorageClass": "s3:x-amz-storage-class",
    "VersionId": "s3:versionid",
    "WebsiteRedirectLocation": "s3:x-amz-website-redirect-location",
}
"""The keys that come from a request's parameters, by the members of the model."""

_SUPPLIED = """
    s3:BucketTag/ s3:ExistingObjectTag/ s3:ObjectCreationOperation s3:RequestObjectTag/
    s3:RequestObjectTagKeys s3:ResourceAccount s3:delimiter s3:locationconstraint s3:max-keys
    s3:prefix s3:authType s3:signatureAge s3:signatureversion s3:x-amz-content-sha256
"""
_NEVER_PRESENT = """
    s3:AccessGrantScope s3:AccessGrantsInstanceArn s3:AccessGrantsLocationScope
    s3:AccessPointNetworkOrigin s3:AccessPointTag/ s3:DataAccessPointAccount
    s3:DataAccessPointArn s3:ExistingJobOperation s3:ExistingJobPriority
    s3:InventoryAccessibleOptionalFields s3:JobSuspendedCause s3:RequestJobOperation
    s3:RequestJobPriority s3:TlsVersion s3:destinationRegion s3:isReplicationPauseRequest
    s3:object-lock-remaining-retention-days s3:object-lock-retain-until-date
    s3:x-amz-bucket-namespace
"""
"""There are no access points, jobs, replications or object locks here, and no TLS."""

CONDITION_KEYS = [*_HEADERS.values(), *(_SUPPLIED + _NEVER_PRESENT).split()]

EXISTING_TAG = "s3:existingobjecttag/"
REQUEST_TAG = "s3:requestobjecttag"
"""Followed by a slash and a tag's key, or by ``Keys``."""
OF_UPLOAD = ("s3:x-amz-", REQUEST_TAG)
OF_NEW_BUCKET = ("s3:locationconstraint", "aws:requesttag/", "aws:tagkeys")
TAGGED = frozenset(
    f"s3:{action}"
    for action in (
        "DeleteObjectTagging",
        "DeleteObjectVersionTagging",
        "GetObject",
        "GetObjectAcl",
        "GetObjectAttributes",
        "GetObjectTagging",
        "GetObjectVersion",
        "GetObjectVersionAcl",
        "GetObjectVersionAttributes",
        "GetObjectVersionTagging",
        "PutObjectAcl",
        "PutObjectTagging",
        "PutObjectVersionAcl",
        "PutObjectVersionTagging",
    )
)
"""Actions whose conditions may test the tags of the object."""


def of_request(request: WireRequest, claim: Claim | None, now: float) -> dict[str, str]:
    """Return the keys of the request's signature and payload hash."""
    keys = {}
    digest = request.headers.get("x-amz-content-sha256")
    if claim is not None:
        presigned, old = claim.signatory.presigned, bool(claim.signatory.until)
        keys["s3:authType"] = "REST-QUERY-STRING" if presigned else "REST-HEADER"
        keys["s3:signatureversion"] = "AWS" if old else "AWS4-HMAC-SHA256"
        if not old:  # the old form does not state when it was signed
            keys["s3:signatureAge"] = str(max(0, int((now - claim.signed_at) * 1000)))
        if digest is None and presigned and not old:
            digest = "UNSIGNED-PAYLOAD"
    if digest is not None:
        keys["s3:x-amz-content-sha256"] = digest
    return keys


def of_version(params: Mapping[str, Any]) -> Keys:
    """Return the keys of a request that names an object, and perhaps a version."""
    version_id = params.get("VersionId")
    return {"s3:versionid": version_id} if version_id else {}


def of_parameters(params: Mapping[str, Any]) -> Keys:
    """Return the keys of a request's headers."""
    asked = _HEADERS.keys() & params.keys() if type(params) is dict else _HEADERS
    return {_HEADERS[member]: params[member] for member in asked if params.get(member)}


def of_write(params: Mapping[str, Any], *, creates: bool = True) -> Keys:
    """Return the keys of a request that makes an object, or is a step towards one. creates: the
    object exists afterwards."""
    creation = "true" if creates else "false"
    return {**of_attributes(params), "s3:ObjectCreationOperation": creation}


def of_attributes(params: Mapping[str, Any]) -> Keys:
    """Return the keys of an object's new attributes."""
    keys = of_parameters(params)
    if isinstance(params.get("Tagging"), str):
        keys |= of_object_tags(tags.header_tags(params["Tagging"]))
    return keys


def of_object_tags(given: Mapping[str, str]) -> Keys:
    """Return the keys of an object's new tags."""
    if not given:
        return {}
    return {
        **{f"s3:RequestObjectTag/{key}": value for key, value in given.items()},
        "s3:RequestObjectTagKeys": list(given),
    }


def of_tag_set(params: Mapping[str, Any]) -> Keys:
    """Return the keys of PutObjectTagging's body."""
    found = (params.get("Tagging") or {}).get("TagSet") or ()
    return of_object_tags({tag.get("Key", ""): tag.get("Value", "") for tag in found})


def of_existing_tags(given: Mapping[str, str]) -> dict[str, str]:
    """Return the keys of an object's present tags."""
    return {f"{EXISTING_TAG}{key}": value for key, value in given.items()}


def of_bucket(given: Mapping[str, str]) -> Keys:
    """Return the keys of a bucket's tags."""
    return {
        **tag_keys.of_resource(given),
        **{f"s3:BucketTag/{key}": value for key, value in given.items()},
    }


def of_new_bucket(params: Mapping[str, Any]) -> Keys:
    """Return the keys of CreateBucket's body."""
    configuration = params.get("CreateBucketConfiguration") or {}
    keys: Keys = {}
    if configuration.get("LocationConstraint"):
        keys["s3:locationconstraint"] = configuration["LocationConstraint"]
    given = {tag.get("Key", ""): tag.get("Value", "") for tag in configuration.get("Tags") or ()}
    return keys | tag_keys.of_request(given)

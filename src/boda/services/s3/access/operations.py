"""Operations on permissions: policies, public access, ownership, access control lists."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from boda.core import resource_policy
from boda.core.arn import bucket_arn
from boda.core.errors import AwsError
from boda.core.policy import MalformedPolicy, Policy
from boda.core.policy_principals import UnknownPrincipal
from boda.gateway.calling.operation import Answer, Context, operation
from boda.services.s3 import condition_keys, errors, names, rows
from boda.services.s3.access import acls
from boda.services.s3.access.public import is_public
from boda.services.s3.core import S3Core, on_bucket, on_object

_POLICY_LIMIT = 20 * 1024
_PUBLIC_ACCESS = (
    "BlockPublicAcls",
    "IgnorePublicAcls",
    "BlockPublicPolicy",
    "RestrictPublicBuckets",
)


class AccessOperations:
    """Bucket policies, public access and ownership settings."""

    def __init__(self, core: S3Core) -> None:
        self.core = core

    @operation("GetBucketPolicy", authorize=on_bucket("s3:GetBucketPolicy"))
    async def get_bucket_policy(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        return {"Policy": ctx.policies.shown(_policy_text(found.settings.get("policy"), bucket))}

    @operation("PutBucketPolicy", authorize=on_bucket("s3:PutBucketPolicy"))
    async def put_bucket_policy(
        self,
        ctx: Context,
        *,
        bucket: str,
        policy: str,
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        confirm_remove_self_bucket_access: bool = False,
        expected_bucket_owner: str | None = None,
    ) -> Answer:
        found = self.core.bucket(bucket, expected_bucket_owner)
        kept = _checked_policy(ctx, policy, found.name)
        block = (found.settings.get("public_access") or {}).get("BlockPublicPolicy")
        if block and is_public(kept):
            raise AwsError(
                "AccessDenied",
                f"User: {ctx.principal.arn} is not authorized to perform: s3:PutBucketPolicy on "
                f'resource: "{found.arn}" because public policies are prevented by the '
                "BlockPublicPolicy setting in S3 Block Public Access.",
                403,
            )
        await self.core.configure(found, lambda settings: settings.update(policy=kept))
        return Answer(status=204)

    @operation("DeleteBucketPolicy", authorize=on_bucket("s3:DeleteBucketPolicy"))
    async def delete_bucket_policy(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        await self.core.configure(found, lambda settings: settings.pop("policy", None))

    @operation("GetBucketPolicyStatus", authorize=on_bucket("s3:GetBucketPolicyStatus"))
    async def get_bucket_policy_status(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        _policy_text(found.settings.get("policy"), bucket)
        return {"PolicyStatus": {"IsPublic": found.public}}

    @operation("GetPublicAccessBlock", authorize=on_bucket("s3:GetBucketPublicAccessBlock"))
    async def get_public_access_block(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner).settings.get("public_access")
        if found is None:
            raise errors.absent(
                "NoSuchPublicAccessBlockConfiguration",
                "The public access block configuration was not found",
                bucket,
            )
        return {"PublicAccessBlockConfiguration": found}

    @operation("PutPublicAccessBlock", authorize=on_bucket("s3:PutBucketPublicAccessBlock"))
    async def put_public_access_block(
        self,
        ctx: Context,
        *,
        bucket: str,
        public_access_block_configuration: Mapping[str, Any],
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        new = {
            name: bool(public_access_block_configuration.get(name, False))
            for name in _PUBLIC_ACCESS
        }
        await self.core.configure(found, lambda settings: settings.update(public_access=new))

    @operation("DeletePublicAccessBlock", authorize=on_bucket("s3:PutBucketPublicAccessBlock"))
    async def delete_public_access_block(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        await self.core.configure(found, lambda settings: settings.pop("public_access", None))

    @operation("GetBucketOwnershipControls", authorize=on_bucket("s3:GetBucketOwnershipControls"))
    async def get_bucket_ownership_controls(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner).settings.get("ownership")
        if found is None:
            raise errors.absent(
                "OwnershipControlsNotFoundError",
                "The bucket ownership controls were not found",
                bucket,
            )
        return {"OwnershipControls": {"Rules": [{"ObjectOwnership": found}]}}

    @operation("PutBucketOwnershipControls", authorize=on_bucket("s3:PutBucketOwnershipControls"))
    async def put_bucket_ownership_controls(
        self,
        ctx: Context,
        *,
        bucket: str,
        ownership_controls: Mapping[str, Any],
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        given = ownership_controls.get("Rules") or []
        if len(given) != 1 or given[0].get("ObjectOwnership") not in acls.OWNERSHIPS:
            raise errors.malformed_xml()
        new = given[0]["ObjectOwnership"]
        await self.core.configure(found, lambda settings: settings.update(ownership=new))

    @operation(
        "DeleteBucketOwnershipControls", authorize=on_bucket("s3:PutBucketOwnershipControls")
    )
    async def delete_bucket_ownership_controls(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        await self.core.configure(found, lambda settings: settings.pop("ownership", None))

    @operation("GetBucketAcl", authorize=on_bucket("s3:GetBucketAcl"))
    async def get_bucket_acl(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        return acls.owner_alone(self.core.bucket(bucket, expected_bucket_owner).account)

    @operation("PutBucketAcl", authorize=on_bucket("s3:PutBucketAcl"))
    async def put_bucket_acl(
        self,
        ctx: Context,
        *,
        bucket: str,
        acl: str | None = None,
        access_control_policy: Mapping[str, Any] | None = None,
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        grant_full_control: str | None = None,
        grant_read: str | None = None,
        grant_read_acp: str | None = None,
        grant_write: str | None = None,
        grant_write_acp: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        grants = {
            "x-amz-grant-full-control": grant_full_control,
            "x-amz-grant-read": grant_read,
            "x-amz-grant-read-acp": grant_read_acp,
            "x-amz-grant-write": grant_write,
            "x-amz-grant-write-acp": grant_write_acp,
        }
        ownership = found.settings.get("ownership")
        acls.check_put("PutBucketAcl", ownership, acl, access_control_policy, grants)

    @operation("GetObjectAcl", authorize=on_object("s3:GetObjectAcl", "s3:GetObjectVersionAcl"))
    async def get_object_acl(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        version_id: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        raw = names.check_key(key)
        if version_id is not None:
            names.check_version_id(version_id, versioned=found.versioned)
            version = await self.core.read(lambda c: rows.named(c, bucket, raw, version_id))
            if version is None:
                raise errors.no_such_version(key, version_id)
            if version.marker:
                raise errors.delete_marker("GET")
        else:
            version = await self.core.read(lambda c: rows.latest(c, bucket, raw))
            if version is None or version.marker:
                raise errors.no_such_key(key)
        return acls.owner_alone(found.account)

    @operation(
        "PutObjectAcl",
        authorize=on_object(
            "s3:PutObjectAcl", "s3:PutObjectVersionAcl", condition_keys.of_parameters
        ),
    )
    async def put_object_acl(
        self,
        ctx: Context,
        *,
        bucket: str,
        key: str,
        acl: str | None = None,
        access_control_policy: Mapping[str, Any] | None = None,
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        grant_full_control: str | None = None,
        grant_read: str | None = None,
        grant_read_acp: str | None = None,
        grant_write: str | None = None,
        grant_write_acp: str | None = None,
        version_id: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        raw = names.check_key(key)
        if version_id is not None:
            names.check_version_id(version_id, versioned=found.versioned)
            version = await self.core.read(lambda c: rows.named(c, bucket, raw, version_id))
            if version is None:
                raise errors.no_such_version(key, version_id)
        else:
            version = await self.core.read(lambda c: rows.latest(c, bucket, raw))
            if version is None:
                raise errors.no_such_key(key)
        if version.marker:
            raise errors.delete_marker("PUT")
        grants = {
            "x-amz-grant-full-control": grant_full_control,
            "x-amz-grant-read": grant_read,
            "x-amz-grant-read-acp": grant_read_acp,
            "x-amz-grant-write": grant_write,
            "x-amz-grant-write-acp": grant_write_acp,
        }
        ownership = found.settings.get("ownership")
        acls.check_put("PutObjectAcl", ownership, acl, access_control_policy, grants)


def _policy_text(text: str | None, bucket: str) -> str:
    if not text:
        raise errors.absent("NoSuchBucketPolicy", "The bucket policy does not exist", bucket)
    return text


def _checked_policy(ctx: Context, text: str, bucket: str) -> str:
    """Return the stored form of a policy. Raises MalformedPolicy unless it is one for this
    bucket."""

    def malformed(message: str) -> AwsError:
        return AwsError("MalformedPolicy", message)

    if resource_policy.size_of(text) > _POLICY_LIMIT:
        raise malformed("Policy exceeds the maximum allowed document size.")
    document = resource_policy.read(text)
    if not isinstance(document, dict) or not text.startswith("{"):
        raise malformed("Policies must be valid JSON and the first byte must be '{'")
    if "Statement" not in document:
        raise malformed("Missing required field Statement")
    try:
        parsed = Policy.parse(text, "resource")
    except MalformedPolicy as error:
        raise malformed(str(error)) from None
    arn = bucket_arn(bucket)
    for statement in resource_policy.statements_of(document):
        if not isinstance(statement, dict):
            raise malformed("Missing required field Statement")
        for resource in _texts(statement.get("Resource")):
            if not any(fnmatchcase(each, resource) for each in (arn, arn + "/x")) and not (
                resource.startswith(arn + "/")
            ):
                raise malformed("Policy has invalid resource")
        for action in _texts(statement.get("Action")) + _texts(statement.get("NotAction")):
            if action != "*" and not action.lower().startswith("s3:"):
                raise malformed("Policy has invalid action")
    ctx.policies.admit(ctx.service, ctx.operation, parsed)
    try:
        return ctx.policies.kept(text)
    except UnknownPrincipal as error:
        raise malformed(str(error)) from None


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]

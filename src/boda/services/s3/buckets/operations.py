"""Operations on buckets as such: their life, place, tags, versioning and encryption."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from boda.core.arn import bucket_arn
from boda.core.errors import AwsError, not_implemented
from boda.core.tags import as_list
from boda.gateway.asking.need import LateKeys, Need
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.calling.paging import Paged, RowList
from boda.services.s3 import condition_keys, errors, names, rows, tags
from boda.services.s3.access import acls
from boda.services.s3.buckets.store import NEW_BUCKET, Bucket
from boda.services.s3.core import S3Core, on_bucket
from boda.storage.rows import Tx

_MAX_BUCKETS = 10_000
_BUCKETS = Paged(size=_MAX_BUCKETS, most=_MAX_BUCKETS)
_EU = "EU"
"""The old name of eu-west-1; a bucket made with it tells its location by it."""
_DEFAULT_ENCRYPTION = {
    "Rules": [
        {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BucketKeyEnabled": False,
        }
    ]
}


class BucketOperations:
    """CreateBucket … and the settings that stand by themselves."""

    def __init__(self, core: S3Core) -> None:
        self.core = core

    def _create_needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        arn, keys = bucket_arn(params["Bucket"]), condition_keys.of_parameters(params)
        make = partial(condition_keys.of_new_bucket, params)
        late = LateKeys.of(condition_keys.OF_NEW_BUCKET, make)
        return (Need("s3:CreateBucket", arn, context=keys, late=late),)

    @operation("CreateBucket", authorize=_create_needs)
    async def create_bucket(
        self,
        ctx: Context,
        *,
        bucket: str,
        create_bucket_configuration: Mapping[str, Any] | None = None,
        acl: str | None = None,
        object_ownership: str | None = None,
        object_lock_enabled_for_bucket: bool = False,
    ) -> dict[str, Any]:
        names.check_bucket_name(bucket)
        configuration = create_bucket_configuration or {}
        for member in ("Location", "Bucket"):
            if configuration.get(member):
                raise not_implemented("s3", "CreateBucket", f"{member}: directory buckets")
        if object_lock_enabled_for_bucket:
            raise not_implemented("s3", "CreateBucket", "Object Lock")
        region = self._region(ctx, configuration.get("LocationConstraint"))
        settings: dict[str, Any] = dict(NEW_BUCKET)
        if object_ownership is not None:
            settings["ownership"] = acls.check_ownership(object_ownership)
        acls.check_canned(acl, "CreateBucket", settings["ownership"], bucket_acl=True)
        if configuration.get("Tags"):
            settings["tags"] = tags.bucket_tags(configuration["Tags"], new=True)
        if configuration.get("LocationConstraint") == _EU:
            settings["location"] = _EU
        new = Bucket(bucket, ctx.account, region, self.core.clock.now(), settings)
        there = await self.core.finish(self._insert(new))
        if there is not None:
            _check_there(ctx, new, *there)
        place = f"/{bucket}" if region == "us-east-1" else _virtual_host(ctx, bucket)
        return {"Location": place, "BucketArn": bucket_arn(bucket)}

    async def _insert(self, new: Bucket) -> tuple[str, str] | None:
        def work(tx: Tx) -> tuple[str, str] | None:
            return rows.insert_bucket(
                tx, new.name, new.account, new.region, new.created, new.settings
            )

        there = await self.core.write(work)
        if there is None:
            self.core.buckets.add(new)
        return there

    def _region(self, ctx: Context, constraint: str | None) -> str:
        if ctx.region == "us-east-1":
            region = "eu-west-1" if constraint == _EU else constraint or "us-east-1"
            if constraint == "us-east-1" or not self._has(region):
                raise AwsError(
                    "InvalidLocationConstraint",
                    "The specified location-constraint is not valid",
                    LocationConstraint=constraint,
                )
            return region
        if constraint != ctx.region and not (constraint == _EU and ctx.region == "eu-west-1"):
            raise AwsError(
                "IllegalLocationConstraintException",
                f"The {constraint or 'unspecified'} location constraint is incompatible for the "
                "region specific endpoint this request was sent to.",
            )
        return ctx.region

    def _has(self, region: str) -> bool:
        """Whether buckets may be there: ``aws-global`` and its like are names for no place."""
        return region in self.core.regions and not region.endswith("-global")

    def _list_needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        return (Need("s3:ListAllMyBuckets"),)

    @operation("ListBuckets", authorize=_list_needs, paged=_BUCKETS)
    async def list_buckets(
        self,
        ctx: Context,
        *,
        max_buckets: int | None = None,
        continuation_token: str | None = None,
        prefix: str | None = None,
        bucket_region: str | None = None,
    ) -> Answer:
        if max_buckets is not None and not 1 <= max_buckets <= _MAX_BUCKETS:
            raise errors.invalid_argument(
                "max-buckets",
                str(max_buckets),
                "Argument max-buckets must be an integer between 1 and 10000",
            )
        if bucket_region is not None and not self._has(bucket_region):
            raise AwsError(
                "InvalidArgument",
                f"Argument value {bucket_region} is not a valid AWS Region",
                ArgumentName="bucket-region",
            )
        found = [
            bucket
            for bucket in self.core.buckets.of(ctx.account)
            if bucket.name.startswith(prefix or "") and bucket_region in (None, bucket.region)
        ]
        paged = any(
            each is not None for each in (max_buckets, continuation_token, prefix, bucket_region)
        )

        def shown(bucket: Bucket) -> dict[str, Any]:
            entry = {
                "Name": bucket.name,
                "CreationDate": _moment(bucket.created),
                "BucketArn": bucket.arn,
            }
            return {**entry, "BucketRegion": bucket.region} if paged else entry

        output: dict[str, Any] = {"Owner": {"ID": names.canonical_id(ctx.account)}}
        if prefix is not None:
            output["Prefix"] = prefix
        return Answer(output, listing=RowList(found, lambda bucket: bucket.name, shown))

    @operation("HeadBucket", authorize=on_bucket("s3:ListBucket"))
    async def head_bucket(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> Answer:
        found = self.core.bucket(bucket, expected_bucket_owner)
        output = {
            "BucketArn": found.arn,
            "BucketRegion": found.region,
            "AccessPointAlias": False,
        }
        return Answer(output, headers={"Content-Type": "application/xml"})

    @operation("GetBucketLocation", authorize=on_bucket("s3:GetBucketLocation", anywhere=True))
    async def get_bucket_location(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        if found.region == "us-east-1":
            return {}
        return {"LocationConstraint": found.settings.get("location", found.region)}

    @operation("DeleteBucket", authorize=on_bucket("s3:DeleteBucket"))
    async def delete_bucket(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> None:
        await self.core.finish(self._delete(self.core.bucket(bucket, expected_bucket_owner)))

    async def _delete(self, found: Bucket) -> None:
        def work(tx: Tx) -> None:
            found.check()
            if rows.holds_versions(tx, found.name):
                message = "The bucket you tried to delete is not empty"
                if found.versioned:
                    message += ". You must delete all versions in the bucket."
                raise AwsError("BucketNotEmpty", message, 409, BucketName=found.name)
            rows.drop_uploads_of(tx, found.name)
            rows.drop_bucket(tx, found.name)
            found.gone = True

        try:
            await self.core.write(work)
        except Exception:
            # Either it was refused, or the commit failed and the bucket stands.
            if self.core.buckets.find(found.name) is found:
                found.gone = False
            raise
        self.core.buckets.remove(found)
        self.core.trash.filled()

    @operation("GetBucketVersioning", authorize=on_bucket("s3:GetBucketVersioning"))
    async def get_bucket_versioning(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        status = self.core.bucket(bucket, expected_bucket_owner).versioning
        return {"Status": status} if status else {}

    @operation("PutBucketVersioning", authorize=on_bucket("s3:PutBucketVersioning"))
    async def put_bucket_versioning(
        self,
        ctx: Context,
        *,
        bucket: str,
        versioning_configuration: Mapping[str, Any],
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        status = versioning_configuration.get("Status")
        if versioning_configuration.get("MFADelete") == "Enabled":
            raise not_implemented("s3", "PutBucketVersioning", "MFADelete")
        if not status:
            raise AwsError(
                "IllegalVersioningConfigurationException",
                "The Versioning element must be specified",
            )
        if status not in ("Enabled", "Suspended"):
            raise errors.malformed_xml()
        await self.core.configure(found, lambda settings: settings.update(versioning=status))

    @operation("GetBucketTagging", authorize=on_bucket("s3:GetBucketTagging"))
    async def get_bucket_tagging(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner).settings.get("tags")
        if not found:
            raise errors.absent("NoSuchTagSet", "The TagSet does not exist", bucket)
        return {"TagSet": as_list(found)}

    @operation("PutBucketTagging", authorize=on_bucket("s3:PutBucketTagging"))
    async def put_bucket_tagging(
        self,
        ctx: Context,
        *,
        bucket: str,
        tagging: Mapping[str, Any],
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> Answer:
        found = self.core.bucket(bucket, expected_bucket_owner)
        new = tags.bucket_tags(tagging.get("TagSet"))
        await self.core.configure(found, lambda settings: settings.update(tags=new))
        return Answer(status=204)

    @operation("DeleteBucketTagging", authorize=on_bucket("s3:PutBucketTagging"))
    async def delete_bucket_tagging(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        await self.core.configure(found, lambda settings: settings.pop("tags", None))

    @operation("GetBucketEncryption", authorize=on_bucket("s3:GetEncryptionConfiguration"))
    async def get_bucket_encryption(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> dict[str, Any]:
        found = self.core.bucket(bucket, expected_bucket_owner)
        kept = found.settings.get("encryption", _DEFAULT_ENCRYPTION)
        return {"ServerSideEncryptionConfiguration": kept}

    @operation("PutBucketEncryption", authorize=on_bucket("s3:PutEncryptionConfiguration"))
    async def put_bucket_encryption(
        self,
        ctx: Context,
        *,
        bucket: str,
        server_side_encryption_configuration: Mapping[str, Any],
        content_md5: str | None = None,
        checksum_algorithm: str | None = None,
        expected_bucket_owner: str | None = None,
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        kept = _encryption(server_side_encryption_configuration)
        await self.core.configure(found, lambda settings: settings.update(encryption=kept))

    @operation("DeleteBucketEncryption", authorize=on_bucket("s3:PutEncryptionConfiguration"))
    async def delete_bucket_encryption(
        self, ctx: Context, *, bucket: str, expected_bucket_owner: str | None = None
    ) -> None:
        found = self.core.bucket(bucket, expected_bucket_owner)
        await self.core.configure(found, lambda settings: settings.pop("encryption", None))


def _check_there(ctx: Context, new: Bucket, account: str, region: str) -> None:
    """us-east-1 alone takes a second creation by the owner as done."""
    if account != ctx.account:
        raise AwsError(
            "BucketAlreadyExists",
            "The requested bucket name is not available. The bucket namespace is shared by all "
            "users of the system. Please select a different name and try again.",
            409,
            BucketName=new.name,
        )
    if region != "us-east-1" or new.region != "us-east-1":
        raise AwsError(
            "BucketAlreadyOwnedByYou",
            "Your previous request to create the named bucket succeeded and you already own it.",
            409,
            BucketName=new.name,
        )


def _encryption(configuration: Mapping[str, Any]) -> dict[str, Any]:
    given = configuration.get("Rules") or []
    if len(given) != 1:
        raise errors.malformed_xml()
    rule = given[0]
    default = rule.get("ApplyServerSideEncryptionByDefault")
    if not default or not default.get("SSEAlgorithm"):
        raise errors.malformed_xml()
    if default["SSEAlgorithm"] != "AES256":
        if default["SSEAlgorithm"] in ("aws:kms", "aws:kms:dsse"):
            raise not_implemented("s3", "PutBucketEncryption", default["SSEAlgorithm"])
        raise errors.malformed_xml()
    if default.get("KMSMasterKeyID"):
        raise AwsError(
            "InvalidArgument",
            "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or "
            "aws:kms:dsse",
            ArgumentName="ApplyServerSideEncryptionByDefault",
        )
    for member in rule:
        if member not in ("ApplyServerSideEncryptionByDefault", "BucketKeyEnabled"):
            raise not_implemented("s3", "PutBucketEncryption", member)
    return {
        "Rules": [
            {
                "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
                "BucketKeyEnabled": bool(rule.get("BucketKeyEnabled", False)),
            }
        ]
    }


def _virtual_host(ctx: Context, bucket: str) -> str:
    scheme, _, host = (ctx.endpoint or "http://s3.localhost").partition("://")
    return f"{scheme}://{bucket}.{host}/"


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)

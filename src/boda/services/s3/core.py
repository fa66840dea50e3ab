"""What all operations of S3 share: buckets, permissions, and the way of a write.

operation → S3Core.commit(work) → writer thread: rows, outbox → commit → post office → answer
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from boda.core.arn import bucket_arn
from boda.core.errors import AwsError
from boda.core.tasks import Tasks
from boda.gateway.asking.need import LateKeys, Need
from boda.gateway.asking.tag_keys import Keys
from boda.gateway.calling.operation import Authorize, Context
from boda.plug import Host
from boda.services.s3 import condition_keys, errors, rows
from boda.services.s3.buckets.store import Bucket, Buckets, adopt, change
from boda.services.s3.notifications.events import Happening
from boda.services.s3.notifications.outbox import Outbox
from boda.services.s3.objects.contents import Contents
from boda.services.s3.objects.unreferenced import UnreferencedBlobs
from boda.services.s3.rows import OutboxMessage
from boda.services.s3.sequence import Sequence
from boda.storage.lost import LostAndFound, missing_contents
from boda.storage.rows import Tx

T = TypeVar("T")


class S3Core:
    """S3 without its operations."""

    def __init__(self, host: Host) -> None:
        self.regions = host.regions
        self.rows = kept = host.rows
        self.blobs = blobs = host.blobs
        self.post = host.post
        self.clock = clock = host.clock
        self.ids = host.ids
        self.buckets = Buckets()
        self._changes = Tasks()
        self.numbers = Sequence(clock)
        self.contents = Contents(kept, blobs, host.damaged)
        self.outbox = Outbox(kept, host.post, clock, host.ids, self.numbers)
        self.trash = UnreferencedBlobs(
            kept, blobs, self.contents, clock, LostAndFound.beside(blobs.root, clock)
        )
        if blobs.holds_nothing() and kept.read_now(rows.names_blobs):
            raise missing_contents(blobs.root, "objects")
        kept.read_now(self.buckets.load)
        self.numbers.raise_to(kept.read_now(rows.last_number))

    async def start(self) -> None:
        await self.outbox.start()
        self.trash.start()

    async def stop(self) -> None:
        await self._changes.drain()
        await self.trash.stop()
        await self.outbox.stop()

    def bucket(self, name: str, expected_owner: str | None = None) -> Bucket:
        """Raises NoSuchBucket; AccessDenied when the bucket belongs to another than expected."""
        if expected_owner is not None and not (
            len(expected_owner) == 12 and expected_owner.isascii() and expected_owner.isdigit()
        ):
            raise AwsError(
                "InvalidBucketOwnerAWSAccountID",
                "The value of the expected bucket owner parameter must be an AWS Account ID... "
                f"[{expected_owner}]",
            )
        bucket = self.buckets.get(name)
        if expected_owner is not None and bucket.account != expected_owner:
            raise errors.access_denied()
        return bucket

    def need(
        self,
        ctx: Context,
        action: str,
        bucket_name: str,
        key: str | None = None,
        context: Keys | None = None,
        version_id: str | None = None,
        *,
        anywhere: bool = False,
    ) -> Need:
        """The permission for an action on a bucket, or on an object of it.

        context: condition keys beyond those of the bucket and of the object's tags.
        Raises AuthorizationHeaderMalformed if the call was signed for another region than the
        bucket's, unless it may come from ``anywhere``.
        """
        bucket = self.buckets.find(bucket_name)
        if bucket is not None and not anywhere and bucket.region != ctx.region:
            _check_region(ctx, bucket)
        return Need(
            action,
            bucket_arn(bucket_name, key),
            policy=bucket.policy_for(ctx.principal) if bucket else None,
            context={**bucket.keys, **(context or {})} if bucket and bucket.keys else context or {},
            account=bucket.account if bucket else "",
            late=self.object_keys(bucket_name, key, version_id)
            if key is not None and action in condition_keys.TAGGED
            else None,
        )

    def object_keys(self, bucket: str, key: str, version_id: str | None) -> LateKeys:
        """The condition keys that an object's tags make."""

        async def read() -> dict[str, str]:
            raw = key.encode(errors="replace")
            version = await self.read(
                lambda tx: (
                    rows.latest(tx, bucket, raw)
                    if version_id is None
                    else rows.named(tx, bucket, raw, version_id)
                )
            )
            return condition_keys.of_existing_tags(version.tags) if version is not None else {}

        return LateKeys((condition_keys.EXISTING_TAG,), read)

    async def hide_missing(self, ctx: Context, bucket: Bucket) -> None:
        """Raise AccessDenied to callers who may not list: they do not learn what is absent."""
        await ctx.authorize(self.need(ctx, "s3:ListBucket", bucket.name, anywhere=True))

    async def finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Let work that follows a commit reach its end though the caller goes away meanwhile."""
        return await self._changes.finish(work)

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self.rows.read(work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self.rows.write(work)

    async def commit(
        self,
        ctx: Context,
        bucket: Bucket,
        work: Callable[[Tx], tuple[T, Iterable[Happening]]],
    ) -> T:
        """Write, then post what happened; returns when both are done.

        work: on the writer thread, within one transaction; answers its result and what happened.
        The events are written in the same transaction, so they hold exactly when it does.
        """
        if not bucket.notifications:
            return (await self.write(work))[0]

        def with_events(tx: Tx) -> tuple[T, list[OutboxMessage]]:
            result, happenings = work(tx)
            messages = [
                message
                for happening in happenings
                for message in self.outbox.put(tx, bucket, happening, ctx)
            ]
            return result, messages

        async def write_and_post() -> T:
            result, messages = await self.write(with_events)
            await self.outbox.post(messages)
            return result

        return await self.finish(write_and_post())

    async def configure(self, bucket: Bucket, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change a bucket's settings, durably, then in memory."""

        async def both() -> None:
            adopt(bucket, await self.write(change(bucket, edit)))

        await self.finish(both())


def _check_region(ctx: Context, bucket: Bucket) -> None:
    """SDKs read the region from the error, or from the header of a HEAD, and ask again there."""
    if not ctx.endpoint or not ctx.principal.access_key_id:
        return  # in process, or unsigned: no region was named
    raise AwsError(
        "AuthorizationHeaderMalformed",
        f"The authorization header is malformed; the region '{ctx.region}' is wrong; expecting "
        f"'{bucket.region}'",
        400,
        headers={"x-amz-bucket-region": bucket.region},
        Region=bucket.region,
    )


def on_bucket(action: str, *, anywhere: bool = False) -> Authorize:
    """Authorise ``action`` on the bucket of the call, signed for its region or ``anywhere``."""

    def needs(group: Any, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        core: S3Core = group.core
        context = condition_keys.of_parameters(params)
        return (core.need(ctx, action, params["Bucket"], context=context, anywhere=anywhere),)

    return needs


def on_object(
    action: str,
    version_action: str | None = None,
    keys: Callable[[Mapping[str, Any]], Keys] = condition_keys.of_version,
) -> Authorize:
    """Authorise ``action`` on the object of the call.

    version_action: the action instead when the call names a version. keys: makes the condition
    keys of the call's parameters.
    """

    def needs(group: Any, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        core: S3Core = group.core
        version_id = params.get("VersionId")
        wanted = version_action if version_id and version_action else action
        return (core.need(ctx, wanted, params["Bucket"], params["Key"], keys(params), version_id),)

    return needs

"""Buckets in memory: whose they are and how they are set up.

Configuration is small and read by every request, so it lives here whole; rows are its durable
form. Objects are never here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from boda.core.arn import bucket_arn
from boda.core.policy import MalformedPolicy, Policy
from boda.core.principal import Principal
from boda.gateway.asking.tag_keys import Keys
from boda.services.s3 import condition_keys, errors, rows
from boda.services.s3.access.public import is_public
from boda.services.s3.notifications.rules import Notifications
from boda.storage.rows import Tx

NEW_BUCKET: Mapping[str, Any] = {
    "public_access": {
        "BlockPublicAcls": True,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": True,
        "RestrictPublicBuckets": True,
    },
    "ownership": "BucketOwnerEnforced",
}
"""How a bucket is set up at its birth (S3 since April 2023)."""


@dataclass(slots=True)
class Bucket:
    """One bucket.

    settings: ``versioning``, ``policy`` (text), ``cors``, ``tags``, ``notifications``,
        ``public_access``, ``ownership``, ``encryption``; absent when never set.
    policy, public, notifications: the same, made ready for use. keys: the condition keys that
        the tags make.
    open_uploads: how many multipart uploads are under way; writes to a bucket without any need
        not look for one to disturb.
    gone: set on the writer thread, so that a write behind the deletion sees it.
    """

    name: str
    account: str
    region: str
    created: float
    settings: dict[str, Any]
    policy: Policy | None = None
    public: bool = False
    keys: Keys = field(default_factory=dict)
    notifications: Notifications = field(default_factory=Notifications)
    open_uploads: int = 0
    gone: bool = False

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Make ready what the settings say; called when they change."""
        text = self.settings.get("policy")
        try:
            self.policy = Policy.parse(text) if text else None
        except MalformedPolicy:
            # Kept from before a rule grew stricter: it grants nothing, and can be replaced.
            self.policy = None
        self.public = is_public(text) if text else False
        self.keys = condition_keys.of_bucket(self.settings.get("tags") or {})
        self.notifications = Notifications.parse(self.settings.get("notifications") or {})

    @property
    def arn(self) -> str:
        return bucket_arn(self.name)

    @property
    def versioning(self) -> str:
        """``Enabled``, ``Suspended`` or ""."""
        status: str = self.settings.get("versioning", "")
        return status

    @property
    def versioned(self) -> bool:
        """Whether versioning was ever on."""
        return bool(self.versioning)

    def policy_for(self, principal: Principal) -> Policy | None:
        """The policy as it holds for this caller.

        A public policy of a bucket that restricts public access holds for the owner's account
        and for services only.
        """
        restrict = (self.settings.get("public_access") or {}).get("RestrictPublicBuckets")
        ours = principal.is_service or principal.account == self.account
        if restrict and self.public and not ours:
            return None
        return self.policy

    def check(self) -> None:
        """On the writer thread: raise NoSuchBucket if the bucket was deleted meanwhile."""
        if self.gone:
            raise errors.no_such_bucket(self.name)


class Buckets:
    """All buckets, by name; names are unique across accounts."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}

    def load(self, tx: Tx) -> None:
        uploads = rows.buckets_with_uploads(tx)
        for name, account, region, created, settings in rows.all_buckets(tx):
            bucket = Bucket(name, account, region, created, settings)
            bucket.open_uploads = uploads.get(name, 0)
            self._buckets[name] = bucket

    def find(self, name: str) -> Bucket | None:
        return self._buckets.get(name)

    def get(self, name: str) -> Bucket:
        """Raises NoSuchBucket."""
        bucket = self._buckets.get(name)
        if bucket is None:
            raise errors.no_such_bucket(name)
        return bucket

    def of(self, account: str) -> Iterator[Bucket]:
        """An account's buckets by name."""
        for name in sorted(self._buckets):
            if self._buckets[name].account == account:
                yield self._buckets[name]

    def add(self, bucket: Bucket) -> None:
        self._buckets[bucket.name] = bucket

    def remove(self, bucket: Bucket) -> None:
        if self._buckets.get(bucket.name) is bucket:
            del self._buckets[bucket.name]


def change(bucket: Bucket, edit: Callable[[dict[str, Any]], None]) -> Callable[[Tx], Any]:
    """A write that edits a bucket's settings; give its answer to ``adopt``.

    Runs on the writer thread, so that two edits of one bucket cannot undo each other.
    """

    def work(tx: Tx) -> dict[str, Any]:
        bucket.check()
        settings = rows.settings_of(tx, bucket.name)
        if settings is None:
            raise errors.no_such_bucket(bucket.name)
        edit(settings)
        rows.set_settings(tx, bucket.name, settings)
        return settings

    return work


def adopt(bucket: Bucket, settings: dict[str, Any]) -> None:
    """Let memory follow what was committed."""
    bucket.settings = copy.deepcopy(settings)
    bucket.refresh()

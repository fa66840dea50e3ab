"""Conditional requests. Pure.

Precedence (S3 API reference, GetObject and CopyObject): an entity tag given outweighs the date
given beside it, ``If-Match`` over ``If-Unmodified-Since`` and ``If-None-Match`` over
``If-Modified-Since``. Times are compared in whole seconds; a date in the future is no condition.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from boda.core.errors import AwsError
from boda.services.s3 import errors
from boda.services.s3.rows import ObjectVersion

COPY_PREFIX = "x-amz-copy-source-"


@dataclass(frozen=True, slots=True)
class ReadConditions:
    """The preconditions of a read. prefix: before the header names in errors (copies)."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: datetime | None = None
    if_unmodified_since: datetime | None = None
    prefix: str = ""

    def check(self, version: ObjectVersion, now: float) -> bool:
        """Return whether the object is to be sent; False means "not modified".

        Raises PreconditionFailed (412).
        """
        if self.if_match is not None:
            if not matches(self.if_match, version.etag):
                raise self._failed("If-Match")
        elif self.if_unmodified_since is not None and version.modified > int(
            self.if_unmodified_since.timestamp()
        ):
            raise self._failed("If-Unmodified-Since")
        if self.if_none_match is not None:
            return not matches(self.if_none_match, version.etag)
        if self.if_modified_since is not None:
            since = self.if_modified_since.timestamp()
            return since > now or version.modified > int(since)
        return True

    def check_copy(self, version: ObjectVersion, now: float) -> None:
        """Check for a copy, which answers 412 where a read would answer "not modified"."""
        if not self.check(version, now):
            name = "If-None-Match" if self.if_none_match is not None else "If-Modified-Since"
            raise self._failed(name)

    def _failed(self, name: str) -> AwsError:
        return errors.precondition_failed(self.prefix + name)


@dataclass(frozen=True, slots=True)
class WriteConditions:
    """The preconditions of a write on the current object: ``If-None-Match: *`` or ``If-Match:
    <etag>``."""

    if_match: str | None = None
    if_none_match: str | None = None

    def check_form(self) -> None:
        """Raises NotImplemented (501) for a form that S3 itself refuses."""
        if self.if_match is not None and self.if_none_match is not None:
            raise errors.header_not_implemented(
                "If-Match,If-None-Match",
                "Multiple conditional request headers present in the request",
            )
        if self.if_none_match is not None and self.if_none_match != "*":
            raise errors.header_not_implemented(
                "If-None-Match",
                "We don't accept the provided value of If-None-Match header for this API",
            )
        if self.if_match == "*":
            raise errors.header_not_implemented(
                "If-Match", "We don't accept the provided value of If-Match header for this API"
            )

    def check(self, key: str, current: ObjectVersion | None, *, disturbed: bool = False) -> None:
        """Check the current object.

        current: the newest version, if any. disturbed: the key was written since the caller's
        upload began. Raises NoSuchKey, PreconditionFailed and ConditionalRequestConflict.
        """
        there = current if current is not None and not current.marker else None
        if self.if_none_match is not None:
            if there is not None:
                raise errors.precondition_failed("If-None-Match")
            if disturbed:
                raise errors.conflict("If-None-Match", key)
        if self.if_match is not None:
            if disturbed:
                raise errors.conflict("If-Match", key)
            if there is None:
                raise errors.no_such_key(key)
            if not matches(self.if_match, there.etag):
                raise errors.precondition_failed("If-Match")


def matches(header: str, etag: str) -> bool:
    """Return whether an entity tag is among those of the header; quotes may be missing."""
    return any(
        each == "*" or each.removeprefix("W/").strip('"') == etag
        for each in (part.strip() for part in header.split(","))
    )

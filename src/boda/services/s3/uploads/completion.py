"""The rules of CompleteMultipartUpload, which makes parts an object. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boda.core.errors import AwsError
from boda.services.s3 import errors
from boda.services.s3.objects import checksums
from boda.services.s3.objects.checksums import COMPOSITE, FULL_OBJECT, ObjectChecksum
from boda.services.s3.rows import Part, Upload

MIN_PART = 5 * 1024 * 1024
"""The least size of every part but the last, in bytes."""

_PART_LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class CompletedObject:
    """The object that the parts make. etag: with ``-N``."""

    parts: Sequence[Part]
    size: int
    etag: str
    checksum: ObjectChecksum


@dataclass(frozen=True, slots=True)
class Completion:
    """A request to complete an upload.

    listed: the parts as the caller lists them, by model names. claimed: checksums of the whole by
    algorithm. checksum_type, size: as the caller states them.
    """

    upload_id: str
    listed: Iterable[Mapping[str, Any]]
    claimed: Mapping[str, str | None]
    checksum_type: str | None = None
    size: int | None = None

    def checked(self, upload: Upload, stored: Iterable[Part]) -> CompletedObject:
        """Check the request against the parts. Raises S3's errors."""
        listed = list(self.listed)
        if not listed:
            raise errors.invalid_request("You must specify at least one part")
        if len(listed) > _PART_LIMIT:
            raise errors.malformed_xml()
        self._check_order(listed)
        self._check_type(upload)
        by_number = {part.number: part for part in stored}
        parts = [self._part(entry, by_number, upload) for entry in listed]
        for part in parts[:-1]:
            if part.size < MIN_PART:
                raise _too_small(part)
        size = sum(part.size for part in parts)
        if self.size is not None and self.size != size:
            raise errors.invalid_request(
                f"The provided 'x-amz-mp-object-size' header value {self.size} does not match "
                f"what was computed: {size}"
            )
        checksum = _checksum(upload, parts)
        self._check_claim(upload, checksum)
        return CompletedObject(
            parts, size, checksums.multipart_etag([p.etag for p in parts]), checksum
        )

    def repeats(self, completed: Iterable[Part]) -> bool:
        """Return whether it lists the same parts as an upload that is complete already.

        Source: S3 API Reference, CompleteMultipartUpload: the operation is idempotent.
        """
        listed = [
            (entry.get("PartNumber"), entry.get("ETag", "").strip('"')) for entry in self.listed
        ]
        return listed == [(part.number, part.etag) for part in completed]

    def _check_order(self, listed: Sequence[Mapping[str, Any]]) -> None:
        last = 0
        for entry in listed:
            number = entry.get("PartNumber")
            if number is None or entry.get("ETag") is None:
                raise errors.malformed_xml()
            if number <= last:
                raise AwsError(
                    "InvalidPartOrder",
                    "The list of parts was not in ascending order. Parts must be ordered by part "
                    "number.",
                    UploadId=self.upload_id,
                )
            last = number

    def _check_type(self, upload: Upload) -> None:
        made_as = upload.checksum_type or FULL_OBJECT
        if self.checksum_type is not None and self.checksum_type != made_as:
            raise errors.invalid_request(
                f"The upload was created using the {made_as} checksum mode. The complete request "
                "must use the same checksum mode."
            )

    def _part(self, entry: Mapping[str, Any], stored: Mapping[int, Part], upload: Upload) -> Part:
        number, etag = entry["PartNumber"], entry["ETag"].strip('"')
        part = stored.get(number)
        if part is None or part.etag != etag:
            raise self._invalid_part(number, etag)
        algorithm = upload.algorithm
        for other in checksums.ALGORITHMS:
            if algorithm and other != algorithm and entry.get(f"Checksum{other}"):
                raise AwsError(
                    "BadDigest",
                    f"The {other.lower()} you specified for part {number} did not match what we "
                    "received.",
                )
        said = entry.get(f"Checksum{algorithm}") if algorithm else None
        if said and said != part.checksum:
            raise self._invalid_part(number, etag)
        if not said and upload.checksum_type == COMPOSITE:
            raise errors.invalid_request(
                f"The upload was created using a {algorithm.lower()} checksum. The complete "
                "request must include the checksum for each part. It was missing for part "
                f"{number} in the request."
            )
        return part

    def _invalid_part(self, number: int, etag: str) -> AwsError:
        return AwsError(
            "InvalidPart",
            "One or more of the specified parts could not be found.  The part may not have been "
            "uploaded, or the specified entity tag may not match the part's entity tag.",
            ETag=etag,
            PartNumber=str(number),
            UploadId=self.upload_id,
        )

    def _check_claim(self, upload: Upload, checksum: ObjectChecksum) -> None:
        said = {name: value for name, value in self.claimed.items() if value}
        if not said:
            return
        # Recorded: an upload made with FULL_OBJECT takes a checksum only beside its type.
        typed = self.checksum_type is not None or upload.checksum_type != FULL_OBJECT
        if not typed or said != {checksum.algorithm: checksum.value}:
            raise AwsError(
                "BadDigest",
                f"The {checksum.algorithm.lower()} you specified did not match the calculated "
                "checksum.",
            )


def _checksum(upload: Upload, parts: Sequence[Part]) -> ObjectChecksum:
    algorithm = upload.algorithm or checksums.DEFAULT
    if upload.checksum_type == COMPOSITE:
        value = checksums.composite(algorithm, [part.checksum for part in parts])
        return ObjectChecksum(algorithm, value, COMPOSITE)
    value = checksums.combined(algorithm, [(part.checksum, part.size) for part in parts])
    return ObjectChecksum(algorithm, value, FULL_OBJECT)


def _too_small(part: Part) -> AwsError:
    return AwsError(
        "EntityTooSmall",
        "Your proposed upload is smaller than the minimum allowed size",
        ETag=part.etag,
        MinSizeAllowed=str(MIN_PART),
        PartNumber=str(part.number),
        ProposedSize=str(part.size),
    )

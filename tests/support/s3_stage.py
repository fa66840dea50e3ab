"""A bucket to play recorded cases with: calls noted by step, held against the recording."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from botocore.exceptions import ClientError

from support.recorded import Held, recorded
from support.s3_world import World


class Stage:
    """A world with one bucket, and the answers by step."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.client = world.client()
        self.bucket = "a-bucket"
        self.steps: dict[str, Any] = {}

    async def __call__(self, step: str, operation: str, **params: Any) -> Any:
        """Call and note the answer under ``step`` ("" notes nothing)."""
        params.setdefault("Bucket", self.bucket)
        if operation == "list_buckets":
            del params["Bucket"]
        try:
            answer = await asyncio.to_thread(getattr(self.client, operation), **params)
        except ClientError as error:
            answer = error.response
        noted = json.loads(json.dumps(answer, default=str)) if step else {}
        meta = answer.get("ResponseMetadata", {})
        if step:
            noted["ResponseMetadata"] = {
                "HTTPHeaders": {},
                "HTTPStatusCode": meta.get("HTTPStatusCode"),
            }
            if "Body" in answer:
                data = await asyncio.to_thread(answer["Body"].read)
                noted["Body"] = data.decode(errors="replace")
            self.steps[step] = noted
        return answer

    def check(
        self, name: str, case: str, *, without: tuple[str, ...] = (), same_bytes: bool = True
    ) -> None:
        """Hold the noted steps against the recording.

        without: names steps not played. same_bytes: false where the recorded object's bytes are
        not known, so that neither its entity tags nor its checksums' values can be compared.
        """
        wanted = recorded("s3", name, case)
        left = set(wanted) - set(self.steps) - set(without)
        assert not left, f"steps not played: {sorted(left)}"
        held = Held()
        lines = []
        for step in wanted:
            if step in without:
                continue
            expected, found = wanted[step], self.steps[step]
            if isinstance(expected, dict) and expected.get("Body") == "":
                expected = {**expected, "Body": found.get("Body", "")}
            if "HTTPHeaders" not in expected.get("ResponseMetadata", {"HTTPHeaders": 0}):
                expected["ResponseMetadata"]["HTTPHeaders"] = {}
            if "ResponseMetadata" not in expected:
                found = {k: v for k, v in found.items() if k != "ResponseMetadata"}
            for told in (expected.get("Error", {}), found.get("Error", {})):
                # In every S3 error; most recordings leave them out.
                told.pop("HostId", None)
                told.pop("RequestId", None)
            if not same_bytes:
                expected, found = _without_bytes(expected), _without_bytes(found)
            lines += held.differences(expected, found, step)
        assert not lines, "\n".join(lines)


def _without_bytes(answer: Any) -> Any:
    """The answer with entity tags and checksums reduced to their being there."""
    if isinstance(answer, list):
        return [_without_bytes(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    return {
        name: "..."
        if name == "ETag"
        or (name.startswith("Checksum") and name not in ("ChecksumType", "ChecksumAlgorithm")
            and isinstance(value, str))
        else _without_bytes(value)
        for name, value in answer.items()
    }  # fmt: skip


async def versioned(stage: Stage, status: str = "Enabled") -> None:
    await stage("", "put_bucket_versioning", VersioningConfiguration={"Status": status})

"""S3 behind a real gateway, with a post office that only takes notes, and real clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore import UNSIGNED
from botocore.exceptions import ClientError

import support.world
from boda.core.clock import Clock, SystemClock
from boda.core.errors import AwsError
from boda.core.principal import Principal, root_of
from boda.core.regions import Regions
from boda.gateway.signing.identity import Credential, Permissions
from boda.storage.blobs import BlobStore
from support.world import NotingPost, NotingTelemetry

ACCOUNT, OTHER_ACCOUNT = "000000000000", "111111111111"


class Keys:
    """Root of two accounts, and a user without policies."""

    def __init__(self) -> None:
        self.generation = 1
        arn = f"arn:aws:iam::{ACCOUNT}:user/ann"
        user = Principal("user", ACCOUNT, arn, "AIDA1", arn, "USER")
        self.known = {
            "ROOT": Credential("ROOT", "secret", root_of(ACCOUNT, "ROOT")),
            "OTHER": Credential("OTHER", "secret", root_of(OTHER_ACCOUNT, "OTHER")),
            "USER": Credential("USER", "secret", user),
        }

    def credential(self, access_key_id: str) -> Credential | None:
        return self.known.get(access_key_id)

    def permissions(self, principal: Principal) -> Permissions:
        return Permissions()


@dataclass
class World(support.world.World):
    """A running server. ``client`` makes boto3 clients; call them with ``run`` or ``call``."""

    @property
    def post(self) -> NotingPost:
        post: Any = self.host.post
        return post

    @property
    def core(self) -> Any:
        """What the operations share."""
        start: Any = self.house.running["s3"].start
        return start.__self__

    @property
    def blobs(self) -> BlobStore:
        return self.host.blobs

    def client(self, key: str | None = "ROOT", **config: Any) -> Any:  # type: ignore[override]
        if key is None:
            config["signature_version"] = UNSIGNED
        keys = {"AccessKeyId": key or "none", "SecretAccessKey": "secret"}
        return super().client("s3", keys, s3={"addressing_style": "path"}, **config)


async def run(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A blocking client's call, off the loop; without the response's metadata."""
    answer = await asyncio.to_thread(call, *args, **kwargs)
    if isinstance(answer, dict):
        meta = answer.pop("ResponseMetadata", {})
        answer["status"] = meta.get("HTTPStatusCode")
        if "Body" in answer:
            answer["Body"] = await asyncio.to_thread(answer["Body"].read)
    return answer


async def failure(call: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """The error of a call that must fail: its members and ``status``."""
    try:
        answer = await asyncio.to_thread(call, *args, **kwargs)
    except ClientError as error:
        found = dict(error.response["Error"])
        found["status"] = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return found
    raise AssertionError(f"it did not fail: {answer}")


@asynccontextmanager
async def s3_world(folder: Path, clock: Clock | None = None, post: NotingPost | None = None,
                   regions: Regions | None = None) -> AsyncIterator[World]:  # fmt: skip
    async with support.world.world(
        folder,
        "s3",
        clock=clock or SystemClock(),
        identities=Keys(),
        post=post or NotingPost(),
        noting=NotingTelemetry(),
        serve=True,
        regions=regions,
    ) as made:
        yield World(made.house, made.gateway, made.clients, made.server)


__all__ = ["ACCOUNT", "OTHER_ACCOUNT", "AwsError", "NotingPost", "World", "failure", "run",
           "s3_world"]  # fmt: skip

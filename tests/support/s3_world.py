"""S3 behind a real gateway, with a post office that only takes notes, and real clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from boda.core.clock import Clock, SystemClock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.principal import Principal, root_of
from boda.delivery.contract import Source
from boda.gateway.asking.authorization import Authorizer
from boda.gateway.calling.models import Models
from boda.gateway.gateway import Gateway
from boda.gateway.server import HttpServer
from boda.gateway.signing.identity import Credential, Permissions
from boda.services.s3 import S3, build, metadata
from boda.storage.blobs import BlobStore
from boda.storage.database import Database
from support.dialects import DIALECTS

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
class NotingPost:
    """A post office: ``reachable`` targets exist; what is delivered is kept.

    refuse: raised by the next deliveries, one each.
    """

    reachable: set[str] = field(default_factory=set)
    services: set[str] = field(default_factory=lambda: {"lambda", "sqs", "sns", "events"})
    taken: list[tuple[str, dict[str, Any], Source]] = field(default_factory=list)
    refuse: list[Exception] = field(default_factory=list)

    def can_deliver(self, target_arn: str) -> bool:
        return target_arn.split(":")[2] in self.services

    def may_deliver(self, target_arn: str, source: Source) -> bool:
        return target_arn in self.reachable

    async def deliver(self, target_arn: str, event: bytes, source: Source) -> str:
        if self.refuse:
            raise self.refuse.pop(0)
        self.taken.append((target_arn, json.loads(event), source))
        return "id"

    @property
    def records(self) -> list[dict[str, Any]]:
        return [event["Records"][0] for _, event, _ in self.taken if "Records" in event]


@dataclass
class World:
    """A running server. ``client`` makes boto3 clients; call them with ``run`` or ``call``."""

    s3: S3
    server: HttpServer
    post: NotingPost
    database: Database
    blobs: BlobStore
    clients: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def client(self, key: str | None = "ROOT", *, region: str = "us-east-1", **config: Any) -> Any:
        from botocore import UNSIGNED

        if key is None:
            config["signature_version"] = UNSIGNED
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=region,
            aws_access_key_id=key or "none",
            aws_secret_access_key="secret",
            config=Config(
                retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **config
            ),
        )
        self.clients.append(client)
        return client


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
async def s3_world(folder: Path, clock: Clock | None = None, post: NotingPost | None = None
                   ) -> AsyncIterator[World]:  # fmt: skip
    clock = clock or SystemClock()
    ids, keys = Ids(), Keys()
    post = post or NotingPost()
    database = Database(folder / "rows.db", [metadata])
    blobs = BlobStore(folder / "blobs", ids)
    s3 = build(database, blobs, post, clock, ids)
    gateway = Gateway(
        [s3.service],
        Models(dialects=DIALECTS),
        keys,
        Authorizer(keys, clock, dialects=DIALECTS),
        clock,
        ids,
        auth="sigv4",
        health=lambda: {"version": "0"},
    )
    server = HttpServer(gateway, "127.0.0.1", 0)
    await s3.start()
    await server.start()
    world = World(s3, server, post, database, blobs)
    try:
        yield world
    finally:
        for client in world.clients:
            client.close()
        await server.stop(5)
        await s3.stop()
        blobs.close()
        database.close()


__all__ = ["ACCOUNT", "OTHER_ACCOUNT", "AwsError", "NotingPost", "World", "failure", "run",
           "s3_world"]  # fmt: skip

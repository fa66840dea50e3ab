"""A gateway with IAM and STS on a database of its own, called in process or over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from boda.core.clock import Clock, ManualClock
from boda.core.ids import Ids
from boda.core.principal import Principal
from boda.gateway.asking.authorization import Authorizer
from boda.gateway.calling.models import Models
from boda.gateway.gateway import Gateway
from boda.gateway.server import HttpServer
from boda.gateway.signing.identity import Credential
from boda.services import iam, sts
from boda.services.iam import Identity
from boda.storage.database import Database
from support.dialects import DIALECTS

ACCOUNT = "000000000000"


@dataclass
class Platform:
    """root: the root user's principal. call: an operation as AWS's SDKs would name it."""

    database: Database
    identity: Identity
    gateway: Gateway
    authorizer: Authorizer
    root: Principal

    async def call(
        self, service: str, operation: str, principal: Principal | None = None, /, **params: Any
    ) -> dict[str, Any]:
        return await self.gateway.call(service, operation, params, principal or self.root)

    async def iam(
        self, operation: str, principal: Principal | None = None, /, **params: Any
    ) -> dict[str, Any]:
        return await self.call("iam", operation, principal, **params)

    def principal(self, access_key_id: str) -> Principal:
        credential = self.identity.credential(access_key_id)
        assert credential is not None
        return credential.principal

    async def user(self, name: str, *documents: str, **params: Any) -> Principal:
        """A new user with inline policies, as the principal of its new key."""
        await self.iam("CreateUser", UserName=name, **params)
        for number, document in enumerate(documents):
            await self.iam(
                "PutUserPolicy", UserName=name, PolicyName=f"p{number}", PolicyDocument=document
            )
        made = await self.iam("CreateAccessKey", UserName=name)
        return self.principal(made["AccessKey"]["AccessKeyId"])


@functools.cache
def _models() -> Models:
    """Reading them is most of the time a small test would take."""
    return Models(dialects=DIALECTS)


@contextlib.asynccontextmanager
async def platform(folder: Path, clock: Clock | None = None) -> AsyncIterator[Platform]:
    clock = clock or ManualClock()
    database = Database(folder / "rows.sqlite", [iam.metadata])
    try:
        ids = Ids()
        service, identity = iam.build(database, clock, ids, ACCOUNT)
        await identity.load()
        root = await identity.ensure_root()
        authorizer = Authorizer(identity, clock, dialects=DIALECTS)
        gateway = Gateway(
            [service, sts.build(identity)],
            _models(),
            identity,
            authorizer,
            clock,
            ids,
            auth="sigv4",
            health=dict,
        )
        yield Platform(database, identity, gateway, authorizer, root.principal)
    finally:
        database.close()


@contextlib.asynccontextmanager
async def served(gateway: Gateway) -> AsyncIterator[str]:
    """The gateway's endpoint on a port of its own."""
    server = HttpServer(gateway, "127.0.0.1", 0)
    await server.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await server.stop(0)


def client(
    service: str, endpoint: str, credential: Credential | Mapping[str, str], **config: Any
) -> Any:
    if isinstance(credential, Credential):
        keys = (credential.access_key_id, credential.secret, credential.session_token or None)
    else:
        keys = (
            credential["AccessKeyId"],
            credential["SecretAccessKey"],
            credential.get("SessionToken"),
        )
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        aws_session_token=keys[2],
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


async def answer(operation: Callable[..., Any], **params: Any) -> dict[str, Any]:
    """What the SDK's user reads: the answer, or the error's response."""
    try:
        found = await asyncio.to_thread(operation, **params)
    except ClientError as error:
        found = error.response
    return dict(found)

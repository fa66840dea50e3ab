"""Every service of one account behind one gateway: in process, and over HTTP with ``served``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boda import telemetry
from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.principal import Principal
from boda.gateway.asking.authorization import Authorizer
from boda.gateway.gateway import Gateway
from boda.gateway.signing.identity import Credential
from boda.services import logs, s3, sts
from boda.storage.blobs import BlobStore
from boda.storage.database import Database
from support.dialects import DIALECTS
from support.lambda_world import World, models, world
from support.s3_world import NotingPost

ACCOUNT = "000000000000"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(principal: Any) -> str:
    return document({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"})


@dataclass
class Account:
    """functions: Lambda and its surroundings. gateway: over all services."""

    functions: World
    gateway: Gateway

    async def call(
        self, service: str, operation: str, principal: Principal | None = None, /, **params: Any
    ) -> dict[str, Any]:
        return await self.gateway.call(service, operation, params, principal or self.functions.root)

    async def error(
        self, service: str, operation: str, principal: Principal | None = None, /, **params: Any
    ) -> AwsError | None:
        """The error that a call answers, None where it answers none."""
        try:
            await self.call(service, operation, principal, **params)
        except AwsError as error:
            return error
        return None

    async def user(self, name: str, *statements: Mapping[str, Any]) -> Credential:
        """A new user with its key, and the statements as its policy."""
        await self.call("iam", "CreateUser", UserName=name)
        if statements:
            await self.let(name, *statements)
        made = await self.call("iam", "CreateAccessKey", UserName=name)
        return self.credential(made["AccessKey"]["AccessKeyId"])

    async def let(self, name: str, *statements: Mapping[str, Any]) -> None:
        """Make the statements the user's policy."""
        await self.call(
            "iam",
            "PutUserPolicy",
            UserName=name,
            PolicyName="p",
            PolicyDocument=document(*statements),
        )

    def credential(self, access_key_id: str) -> Credential:
        found = self.functions.identity.credential(access_key_id)
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def account(folder: Path, clock: Clock | None = None) -> AsyncIterator[Account]:
    async with world(folder, clock=clock) as here:
        ids = Ids()
        database = Database(folder / "more.sqlite", [s3.metadata, telemetry.metadata])
        recorder = telemetry.build(database, here.clock)
        blobs = BlobStore(folder / "blobs", ids)
        buckets = s3.build(database, blobs, NotingPost(), here.clock, ids)
        identities = here.gateway._installed["iam"].service
        gateway = Gateway(
            [
                identities,
                sts.build(here.identity),
                here.service.service,
                buckets.service,
                logs.build(recorder, here.clock, ids),
            ],
            models(),
            here.identity,
            Authorizer(here.identity, here.clock, dialects=DIALECTS),
            here.clock,
            ids,
            auth="sigv4",
            health=dict,
        )
        await buckets.start()
        try:
            yield Account(here, gateway)
        finally:
            await buckets.stop()
            await recorder.stop()
            blobs.close()
            database.close()

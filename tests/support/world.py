"""Any services of the house, by name, behind a gateway of their own: in process, and over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from boda import telemetry
from boda.app import PLUGS
from boda.core.clock import Clock, ManualClock
from boda.core.errors import AwsError
from boda.core.health import log_damage
from boda.core.ids import Ids
from boda.core.principal import Principal
from boda.delivery.contract import EventSource
from boda.delivery.post_office import LocalPostOffice
from boda.gateway.calling.models import Models
from boda.gateway.gateway import Gateway
from boda.gateway.server import HttpServer
from boda.gateway.signing.identity import Credential
from boda.plug import Compute, Host, House, Plug
from boda.services.absent import LACKING
from boda.storage.blobs import BlobStore
from boda.storage.schema import Schema
from boda.storage.sqlite_rows import SqliteRows
from boda.telemetry.contract import MeteredUrlRequest
from support.dialects import DIALECTS

ACCOUNT = "000000000000"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
_BY_NAME = {one.name: one for one in PLUGS}


def document(*statements: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def trust(principal: Any) -> str:
    return document({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"})


@functools.cache
def models() -> Models:
    """Reading them is most of the time a small test would take."""
    return Models([one.models for one in PLUGS if one.models is not None], DIALECTS)


@functools.cache
def _no_rows(tables: tuple[Schema, ...]) -> bytes:
    """A database file with empty tables: to make them takes longer than a small test would."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.sqlite")
        SqliteRows(path, list(tables)).close()
        return path.read_bytes()


class NotingTelemetry:
    """Keeps what it is told. counted: names of metrics."""

    def __init__(self) -> None:
        self.told: list[MeteredUrlRequest] = []
        self.counted: list[str] = []

    def url_requested(self, answer: MeteredUrlRequest) -> None:
        self.told.append(answer)

    def metric(self, account: str, region: str, namespace: str, name: str, *_: Any) -> None:
        self.counted.append(name)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass
class NotingPost:
    """A post office: ``reachable`` targets exist; what is delivered is kept.

    refuse: raised by the next deliveries, one each.
    """

    reachable: set[str] = field(default_factory=set)
    services: set[str] = field(default_factory=lambda: {"lambda", "sqs", "sns", "events"})
    taken: list[tuple[str, dict[str, Any], EventSource]] = field(default_factory=list)
    refuse: list[Exception] = field(default_factory=list)

    def add(self, service: str, carrier: object) -> None: ...

    def can_deliver(self, target_arn: str) -> bool:
        return target_arn.split(":")[2] in self.services

    def may_deliver(self, target_arn: str, source: EventSource) -> bool:
        return target_arn in self.reachable

    async def deliver(self, target_arn: str, event: bytes, source: EventSource) -> str:
        if self.refuse:
            raise self.refuse.pop(0)
        self.taken.append((target_arn, json.loads(event), source))
        return "id"

    @property
    def records(self) -> list[dict[str, Any]]:
        return [event["Records"][0] for _, event, _ in self.taken if "Records" in event]


@dataclass
class World:
    """A house. ``call`` and ``error`` go in process; ``client`` after ``served``."""

    house: House
    gateway: Gateway
    clients: list[Any] = field(default_factory=list)
    server: HttpServer | None = None

    @property
    def host(self) -> Host:
        return self.house.host

    @property
    def rows(self) -> SqliteRows:
        assert isinstance(self.host.rows, SqliteRows)
        return self.host.rows

    @property
    def clock(self) -> Any:
        return self.host.clock

    @property
    def identity(self) -> Any:
        return self.host.identities

    @property
    def authorizer(self) -> Any:
        return self.host.authorizer

    @property
    def key(self) -> Credential:
        """The root user's."""
        return self.identity.root_credential()

    @property
    def root(self) -> Principal:
        return self.key.principal

    async def call(
        self, service: str, operation: str, principal: Principal | None = None, /, **params: Any
    ) -> dict[str, Any]:
        return await self.gateway.call(service, operation, params, principal or self.root)

    async def iam(
        self, operation: str, principal: Principal | None = None, /, **params: Any
    ) -> dict[str, Any]:
        return await self.call("iam", operation, principal, **params)

    async def error(
        self, service: str, operation: str, principal: Principal | None = None, /, **params: Any
    ) -> AwsError | None:
        """The error that a call answers, None where it answers none."""
        try:
            await self.call(service, operation, principal, **params)
        except AwsError as error:
            return error
        return None

    async def user(self, name: str, *statements: Mapping[str, Any], **params: Any) -> Credential:
        """A new user with its key, and the statements as its policy."""
        await self.iam("CreateUser", UserName=name, **params)
        if statements:
            await self.let(name, *statements)
        made = await self.iam("CreateAccessKey", UserName=name)
        return self.credential(made["AccessKey"]["AccessKeyId"])

    async def let(self, name: str, *statements: Mapping[str, Any]) -> None:
        """Make the statements the user's policy."""
        await self.iam(
            "PutUserPolicy",
            UserName=name,
            PolicyName="p",
            PolicyDocument=document(*statements),
        )

    def credential(self, access_key_id: str) -> Credential:
        found = self.identity.credential(access_key_id)
        assert found is not None
        return found

    def principal(self, access_key_id: str) -> Principal:
        return self.credential(access_key_id).principal

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.port}"

    def client(self, service: str, credential: Any, **config: Any) -> Any:
        made = client(service, self.url, credential, **config)
        self.clients.append(made)
        return made


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    *services: str | Plug,
    clock: Clock | None = None,
    ids: Ids | None = None,
    kind: type[SqliteRows] = SqliteRows,
    open_mode: bool = False,
    identities: Any = None,
    compute: Compute | None = None,
    noting: NotingTelemetry | None = None,
    post: Any = None,
    quotas: Mapping[str, Any] | None = None,
    damaged: Callable[[str], None] = log_damage,
    prepare: Callable[[House], None] = lambda house: None,
    serve: bool = False,
    **more: Any,
) -> AsyncIterator[World]:
    """services: names, or plugs of the test's own. identities: instead of a service's. noting:
    instead of telemetry that is stored. prepare: called once the house stands, before it is
    loaded. serve: whether it is reached over HTTP, too. more: arguments of the Gateway."""
    plugs = [_BY_NAME[one] if isinstance(one, str) else one for one in services]
    clock, ids = clock or ManualClock(), ids or Ids()
    tables = [telemetry.metadata, *(table for one in plugs for table in one.tables)]
    async with contextlib.AsyncExitStack() as stack:
        path = folder / "rows.sqlite"
        if not path.exists():
            path.write_bytes(_no_rows(tuple(tables)))
        rows = kind(path, tables)
        stack.callback(rows.close)
        recorder: Any = noting or telemetry.build(rows, clock)
        stack.push_async_callback(recorder.stop)
        blobs = BlobStore(folder / "blobs", ids)
        stack.callback(blobs.close)
        host = Host(
            rows,
            blobs,
            folder / "code",
            clock,
            ids,
            post or LocalPostOffice(),
            recorder,
            account=ACCOUNT,
            damaged=damaged,
            open_mode=open_mode,
            hosts=more.get("hosts"),
            regions=more.get("regions"),
            quotas=quotas,
            compute=compute,
            identities=identities,
        )
        known = all(one.name in _BY_NAME for one in plugs)
        house = House(plugs, host, models() if known else None)
        prepare(house)
        await house.load()
        gateway = Gateway(
            house.services,
            house.models,
            host.identities,
            host.authorizer,
            clock,
            ids,
            **{
                "auth": "open" if open_mode else "sigv4",
                "health": lambda: {"version": "0"},
                "sites": house.sites,
                "lacking": LACKING,
                **more,
            },
        )
        host.call = getattr(host, "call", gateway.call)
        stack.push_async_callback(house.stop)
        await house.start()
        made = World(house, gateway)
        if serve:
            made.server = HttpServer(gateway, "127.0.0.1", 0)
            await made.server.start()
            stack.push_async_callback(made.server.stop, 5)
        try:
            yield made
        finally:
            for one in made.clients:
                one.close()


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
        region_name=config.pop("region", "us-east-1"),
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

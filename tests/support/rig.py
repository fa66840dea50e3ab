"""A gateway over a few small services, and real clients for it."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from boda.core.clock import Clock, SystemClock
from boda.core.errors import AwsError
from boda.core.policy import Policy
from boda.core.principal import Principal, root_of
from boda.core.regions import Regions
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.calling.service import Service
from boda.gateway.gateway import Gateway
from boda.gateway.http.hosts import Hosts
from boda.gateway.http.limits import Limits
from boda.gateway.http.wire import Stream, StreamingBody
from boda.gateway.server import HttpServer
from boda.gateway.signing.identity import Credential, Permissions
from boda.plug import Plug, Running
from support.dialects import DIALECTS
from support.world import NotingTelemetry, world

HOSTS = ("x", "h", "other")
"""What raw requests of tests call the gateway by."""
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
USER_KEY, USER_SECRET = "AKIAUSER", "user-secret"
SESSION_KEY, SESSION_SECRET, SESSION_TOKEN = "ASIASESSION", "session-secret", "session-token"


class Keys:
    """A directory with a root key, a user without policies, and a session."""

    def __init__(self) -> None:
        self.generation = 1
        user = "arn:aws:iam::000000000000:user/ann"
        role = "arn:aws:sts::000000000000:assumed-role/r/s"
        self.known = {
            KEY: Credential(KEY, SECRET, root_of(access_key_id=KEY)),
            USER_KEY: Credential(
                USER_KEY,
                USER_SECRET,
                Principal("user", "000000000000", user, "AIDA1", user, USER_KEY),
            ),
            SESSION_KEY: Credential(
                SESSION_KEY,
                SESSION_SECRET,
                Principal("assumed-role", "000000000000", role, "AROA1:s", role, SESSION_KEY),
                SESSION_TOKEN,
                expires_at=4_000_000_000.0,
            ),
        }

    def credential(self, access_key_id: str) -> Credential | None:
        return self.known.get(access_key_id)

    def permissions(self, principal: Principal) -> Permissions:
        return Permissions()


def _anybody(self: object, ctx: Context, params: Any) -> tuple[Need, ...]:
    return ()


class Sts:
    @operation("GetCallerIdentity", authorize=_anybody)
    async def get_caller_identity(self, ctx: Context) -> dict[str, Any]:
        return {
            "Account": ctx.account,
            "Arn": ctx.principal.arn,
            "UserId": ctx.principal.unique_id,
        }

    @operation("AssumeRoleWithWebIdentity")
    async def assume(self, ctx: Context, *, role_arn: str, role_session_name: str,
                     web_identity_token: str) -> dict[str, Any]:  # fmt: skip
        return {"SubjectFromWebIdentityToken": f"{ctx.principal.kind}:{web_identity_token}"}


class Logs:
    @operation("DescribeLogGroups")
    async def describe(self, ctx: Context, *, log_group_name_prefix: str = "") -> dict[str, Any]:
        if log_group_name_prefix == "boom":
            raise RuntimeError("a secret of the platform")
        return {"logGroups": [{"logGroupName": f"{log_group_name_prefix}-{ctx.region}"}]}


class FunctionTable:
    """``gate`` holds an invocation; ``finished`` counts those that went through it."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()
        self.finished = 0
        self.environments: list[str] = []

    @operation("Invoke")
    async def invoke(self, ctx: Context, *, function_name: str, payload: bytes = b"",
                     invocation_type: str = "") -> Answer:  # fmt: skip
        self.environments.append(ctx.environment_id)
        self.started.set()
        await self.gate.wait()
        self.finished += 1
        return Answer(
            {"StatusCode": 200, "Payload": payload, "ExecutedVersion": function_name},
            headers={"X-Extra": "yes"},
        )

    @operation("GetFunctionConfiguration")
    async def configuration(self, ctx: Context, *, function_name: str) -> dict[str, Any]:
        return {"FunctionName": function_name, "MemorySize": 128}


class Objects:
    """S3 in memory: enough to see what arrives and to stream it back."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], bytes] = {}
        self.seen: dict[str, Any] = {}
        self.errors: list[AwsError] = []
        self.closed = 0
        self.public = Policy.parse(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": "*",
                        "Action": "s3:GetObject",
                        "Resource": "arn:aws:s3:::public/*",
                    }
                ],
            }
        )

    def _reads(self, ctx: Context, params: Any) -> tuple[Need, ...]:
        where = f"arn:aws:s3:::{params['Bucket']}/{params['Key']}"
        policy = self.public if params["Bucket"] == "public" else None
        return (Need("s3:GetObject", where, policy, account="000000000000"),)

    @operation("PutObject")
    async def put(self, ctx: Context, *, bucket: str, key: str, body: StreamingBody | None = None,
                  metadata: Any = None, content_type: str = "", content_encoding: str = "",
                  tagging: str = "") -> dict[str, Any]:  # fmt: skip
        data = bytearray()
        self.seen = {"metadata": metadata, "encoding": content_encoding, "tagging": tagging}
        try:
            if body is not None:
                self.seen["length"] = body.length
                async for piece in body:
                    data += piece
                self.seen["trailers"] = dict(body.checksums())
        except AwsError as error:
            self.errors.append(error)
            raise
        self.kept[bucket, key] = bytes(data)
        return {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}

    @operation("GetObject", authorize=_reads)
    async def get(self, ctx: Context, *, bucket: str, key: str,
                  checksum_mode: str = "",
                  response_content_disposition: str = "") -> dict[str, Any]:  # fmt: skip
        if key == "endless":
            return {"Body": Stream(self._endless())}
        data = self.kept.get((bucket, key))
        if data is None:
            raise AwsError("NoSuchKey", "The specified key does not exist.", 404, Key=key)
        answer: dict[str, Any] = {"Body": Stream(_pieces(data), len(data))}
        if response_content_disposition:
            answer["ContentDisposition"] = response_content_disposition
        return answer

    @operation("HeadObject", authorize=_reads)
    async def head(self, ctx: Context, *, bucket: str, key: str) -> dict[str, Any]:
        return {"ContentLength": len(self.kept[bucket, key])}

    @operation("DeleteObjects")
    async def delete(self, ctx: Context, *, bucket: str, delete: Any) -> dict[str, Any]:
        return {"Deleted": [{"Key": one["Key"]} for one in delete["Objects"]]}

    async def _endless(self) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            self.closed += 1


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 65_536):
        yield data[at : at + 65_536]


@dataclass
class Rig:
    """A running server. client: a boto3 client of it; call it with ``run``."""

    gateway: Gateway
    server: HttpServer
    keys: Keys
    functions: FunctionTable
    objects: Objects
    clock: Clock
    clients: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def client(self, service: str, key: str = KEY, secret: str = SECRET, token: str = "",
               *, host: str = "127.0.0.1", region: str = "eu-west-1",
               **config: Any) -> Any:  # fmt: skip
        client = boto3.client(
            service,
            endpoint_url=f"http://{host}:{self.server.port}",
            region_name=region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token or None,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )
        self.clients.append(client)
        return client

    async def raw(self, data: bytes, timeout_s: float = 10) -> bytes:
        """Send bytes, then read until the server closes or a whole answer is there."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(data)
            return await asyncio.wait_for(reader.read(1 << 20), timeout_s)
        finally:
            writer.close()


async def run(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A blocking client's call, off the loop."""
    return await asyncio.to_thread(call, *args, **kwargs)


@asynccontextmanager
async def rig(*, auth: Any = "sigv4", limits: Limits | None = None, clock: Clock | None = None,
              sites: Any = (), preflight: Any = None, decorate: Any = None,
              regions: Regions | None = None) -> AsyncIterator[Rig]:  # fmt: skip
    keys, functions, objects = Keys(), FunctionTable(), Objects()

    def plug(service: Service) -> Plug:
        return Plug(service.name, lambda host: Running(service), DIALECTS.get(service.name))

    with tempfile.TemporaryDirectory() as folder:
        async with world(
            Path(folder),
            plug(Service("sts", [Sts()])),
            plug(Service("logs", [Logs()])),
            plug(Service("lambda", [functions])),
            plug(Service("s3", [objects], preflight=preflight, decorate=decorate)),
            clock=clock or SystemClock(),
            open_mode=auth == "open",
            identities=keys,
            noting=NotingTelemetry(),
            serve=True,
            sites=sites,
            limits=limits,
            regions=regions,
            hosts=Hosts(names=HOSTS),
        ) as made:
            assert made.server is not None
            yield Rig(made.gateway, made.server, keys, functions, objects, made.clock, made.clients)
            functions.gate.set()

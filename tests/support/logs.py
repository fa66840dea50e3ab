"""CloudWatch Logs on a database of its own: in process with permissions, and over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from boda import telemetry
from boda.core.clock import ManualClock
from boda.core.ids import Ids
from boda.core.principal import Principal
from boda.gateway.asking.authorization import Authorizer
from boda.gateway.calling.models import Models
from boda.gateway.gateway import Gateway
from boda.gateway.server import HttpServer
from boda.services import iam, logs
from boda.storage.database import Database
from boda.telemetry import Recorder
from support.dialects import DIALECTS

ACCOUNT = "000000000000"
REGION = "us-east-1"


@dataclass
class LogsPlatform:
    """client: a boto3 client over HTTP. gateway: checks permissions, for calls in process."""

    recorder: Recorder
    clock: ManualClock
    client: Any
    gateway: Gateway
    root: Principal

    @property
    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    async def ask(self, operation: str, **params: Any) -> dict[str, Any]:
        """The answer as an SDK's user reads it; an error's is its response."""
        try:
            found = await asyncio.to_thread(getattr(self.client, operation), **params)
        except ClientError as error:
            found = error.response
        found["ResponseMetadata"] = {
            "HTTPHeaders": {},
            "HTTPStatusCode": found["ResponseMetadata"]["HTTPStatusCode"],
        }
        return dict(found)

    async def refused(self, operation: str, **params: Any) -> tuple[str, str]:
        """Code and message of the error that the call must end in."""
        answer = await self.ask(operation, **params)
        assert "Error" in answer, answer
        return answer["Error"]["Code"], answer["Error"]["Message"]

    async def stream(self, group: str = "group", stream: str = "stream") -> dict[str, str]:
        """Make a group and a stream in it; returns their parameters."""
        await self.ask("create_log_group", logGroupName=group)
        await self.ask("create_log_stream", logGroupName=group, logStreamName=stream)
        return {"logGroupName": group, "logStreamName": stream}

    async def put(self, place: dict[str, str], *messages: str, at: int | None = None) -> None:
        """Put messages a millisecond apart, the first at that time (now by default)."""
        start = self.now_ms if at is None else at
        events = [{"timestamp": start + n, "message": text} for n, text in enumerate(messages)]
        answer = await self.ask("put_log_events", **place, logEvents=events)
        assert "Error" not in answer, answer
        assert "rejectedLogEventsInfo" not in answer, answer


@contextlib.asynccontextmanager
async def logs_platform(folder: Path) -> AsyncIterator[LogsPlatform]:
    clock, ids = ManualClock(), Ids(1)
    database = Database(folder / "rows.sqlite", [iam.metadata, telemetry.metadata])
    recorder = telemetry.build(database, clock)
    identities, identity = iam.build(database, clock, ids, ACCOUNT)
    await identity.load()
    root = await identity.ensure_root()
    services = [identities, logs.build(recorder, clock, ids)]

    def gateway(*, is_open: bool) -> Gateway:
        authorizer = Authorizer(identity, clock, open_mode=is_open, dialects=DIALECTS)
        auth = "open" if is_open else "sigv4"
        return Gateway(
            services,
            Models(dialects=DIALECTS),
            identity,
            authorizer,
            clock,
            ids,
            auth=auth,
            health=dict,
        )

    server = HttpServer(gateway(is_open=True), "127.0.0.1", 0)
    await server.start()
    client = boto3.client(
        "logs",
        endpoint_url=f"http://127.0.0.1:{server.port}",
        region_name=REGION,
        aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
        aws_secret_access_key="secret",
        config=Config(
            retries={"total_max_attempts": 1},
            parameter_validation=False,
            inject_host_prefix=False,
        ),
    )
    try:
        yield LogsPlatform(recorder, clock, client, gateway(is_open=False), root.principal)
    finally:
        client.close()
        await server.stop(1)
        await recorder.stop()
        database.close()

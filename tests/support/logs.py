"""CloudWatch Logs on a database of its own: in process with permissions, and over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from boda.core.clock import ManualClock
from boda.core.ids import Ids
from boda.core.principal import Principal
from boda.gateway.asking.authorization import Authorizer
from boda.gateway.gateway import Gateway
from boda.telemetry import Recorder
from support.world import client, served, world

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
    async with world(folder, "iam", "logs", ids=Ids(1)) as here:
        # The client signs by its own clock, so that over HTTP nothing is verified.
        host, anybody = here.host, Authorizer(here.identity, here.clock, open_mode=True)
        gateway = Gateway(
            here.house.services,
            here.house.models,
            host.identities,
            anybody,
            host.clock,
            host.ids,
            auth="open",
            health=dict,
        )
        async with served(gateway) as endpoint:
            careless = client(
                "logs", endpoint, here.key, parameter_validation=False, inject_host_prefix=False
            )
            yield LogsPlatform(host.telemetry, here.clock, careless, here.gateway, here.root)
            careless.close()

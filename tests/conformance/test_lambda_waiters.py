"""boto3's waiters, which scripts and Terraform lean on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from boda.core.clock import SystemClock
from support.lambda_world import ROLE, package, world
from support.world import client, served


async def test_waiters_end_when_the_function_can_be_used(tmp_path: Path) -> None:
    async with world(tmp_path, clock=SystemClock()) as here, served(here.gateway) as endpoint:
        aws = client("lambda", endpoint, here.key)

        def walk() -> None:
            made = aws.create_function(
                FunctionName="f",
                Role=ROLE,
                Runtime="python3.12",
                Handler="app.handler",
                Code={"ZipFile": package()},
            )
            assert made["State"] == "Pending"
            for name in ("function_exists", "function_active_v2", "function_active"):
                aws.get_waiter(name).wait(FunctionName="f", WaiterConfig={"Delay": 1})
            changed = aws.update_function_configuration(FunctionName="f", MemorySize=256)
            assert changed["LastUpdateStatus"] == "InProgress"
            for name in ("function_updated_v2", "function_updated"):
                aws.get_waiter(name).wait(FunctionName="f", WaiterConfig={"Delay": 1})
            assert aws.invoke(FunctionName="f")["StatusCode"] == 200

        await asyncio.to_thread(walk)
        assert here.invoker.calls[0].version.memory_mb == 256

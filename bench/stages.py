"""Where the time of a warm, signed Invoke goes, stage by stage.

The platform runs in this process with a stopwatch around each step of the gateway's list and
around the invoke path; the load comes from a process of its own, over 16 connections. Time that
a step spends waiting for others on the event loop counts for ``run`` and ``invoke``, so the sum
of the others and the CPU of the whole process per request are what to look at.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from pathlib import Path
from typing import Any

import uvloop

from bench import peers
from bench.host import TRUST, package
from bench.load import run_load, write_requests
from bench.signing import signed
from boda.app import Platform, Settings
from boda.core.principal import root_of
from boda.storage.folder import Folder

STEPS = ("_route", "_authenticate", "_resolve", "_parse", "_validate", "_context", "_authorise")
CONNECTIONS = 16
SECONDS = 4.0


def run(folder: Path) -> dict[str, Any]:
    return uvloop.run(_run(folder))


class Stopwatch:
    """Total seconds and calls by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def around(self, owner: Any, method: str, stage: str) -> None:
        original = getattr(owner, method)

        def note(begin: float) -> None:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begin
            self.calls[stage] = self.calls.get(stage, 0) + 1

        if inspect.iscoroutinefunction(original):

            async def timed_later(*args: Any, **kwargs: Any) -> Any:
                begin = time.perf_counter()
                try:
                    return await original(*args, **kwargs)
                finally:
                    note(begin)

            setattr(owner, method, timed_later)
            return

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                note(begin)

        setattr(owner, method, timed)


async def _run(folder: Path) -> dict[str, Any]:
    platform = Platform(Settings(folder / "data", port=0))
    try:
        await platform.start()
        await _make_function(platform)
        keys = Folder(folder / "data").root_keys()
        file = folder / "stages.requests"
        write_requests(
            file,
            [
                signed(
                    f"{platform.endpoint}/2015-03-31/functions/Hello/invocations",
                    "POST",
                    json.dumps({"name": f"rider {n}", "numbers": [n, 2, 3]}).encode(),
                    service="lambda",
                    key=keys.access_key_id,
                    secret=keys.secret,
                )
                for n in range(4000)
            ],
        )
        port = int(platform.endpoint.rsplit(":", 1)[1])
        await _load(port, file, 1.0)
        watch = Stopwatch()
        for step in (*STEPS, "_run", "_serialise"):
            watch.around(platform.gateway, step, step.strip("_"))
        watch.around(platform.invoker, "invoke", "invoke")
        watch.around(platform.gateway, "answer", "answer")
        cpu = time.process_time()
        found = await _load(port, file, SECONDS)
        cpu = time.process_time() - cpu
    finally:
        await platform.stop()
    if found["errors"]:
        raise RuntimeError(found["sample_error"])
    return _report(watch, cpu / found["requests"], found["per_second"])


async def _make_function(platform: Platform) -> None:
    call, root = platform.gateway.call, root_of()
    role = await call(
        "iam", "CreateRole", {"RoleName": "bench", "AssumeRolePolicyDocument": TRUST}, root
    )
    await call(
        "lambda",
        "CreateFunction",
        {
            "FunctionName": "Hello",
            "Runtime": "python3.11",
            "Role": role["Role"]["Arn"],
            "Handler": "lambda_function.lambda_handler",
            "Code": {"ZipFile": package(peers.HANDLER)},
            "MemorySize": 1769,
        },
        root,
    )
    while True:
        found = await call("lambda", "GetFunctionConfiguration", {"FunctionName": "Hello"}, root)
        if found["State"] == "Active":
            return
        await asyncio.sleep(0.01)


async def _load(port: int, file: Path, seconds: float) -> dict[str, Any]:
    return await asyncio.to_thread(run_load, port, CONNECTIONS, seconds, file)


def _report(watch: Stopwatch, cpu_s: float, per_second: float) -> dict[str, Any]:
    mean = {stage: watch.seconds[stage] / watch.calls[stage] * 1e6 for stage in watch.seconds}
    report: dict[str, Any] = {}
    for step in STEPS:
        stage = step.strip("_")
        report[f"{stage} us"] = round(mean[stage], 1)
    report["run: before and after the invoke us"] = round(mean["run"] - mean["invoke"], 1)
    report["invoke: environment, handler, waiting us"] = round(mean["invoke"], 1)
    report["serialise us"] = round(mean["serialise"], 1)
    report["whole answer us"] = round(mean["answer"], 1)
    report["platform CPU per request us"] = round(cpu_s * 1e6, 1)
    report["requests per second with the stopwatch"] = round(per_second)
    return report

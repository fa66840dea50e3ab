"""Where the CPU of a warm invocation goes on the platform's one thread, stage by stage.

The platform runs in this process with a stopwatch around each step of the fast path, the invoke
path and the environment; the load comes from a process of its own, over 16 connections. A stage's
time is its own, without the stages it calls; medians, since others may interrupt any one of them.
What no stage has is the event loop, the kernel's share of reading, and what is done for many
requests at once; it is what remains of the process's CPU per request.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop

from bench import peers
from bench.compare import OF_A_URL
from bench.host import TRUST, package
from bench.load import run_load, write_requests
from bench.signing import signed
from boda.app import Platform, Settings
from boda.core.principal import root_of
from boda.fleet.active_invocation import ActiveInvocation
from boda.gateway.fast_path import GatewayFastPath, _Reply
from boda.gateway.http.connection import HttpConnection
from boda.invoke.path import Invoker
from boda.runtime.session import RuntimeSession
from boda.services import lambda_
from boda.services.lambda_.invoking.fast_invoke import FastInvoke
from boda.services.lambda_.urls.fast_url import FastUrl
from boda.storage.folder import DataFolder

STAGES: tuple[tuple[str, type, str], ...] = (
    ("find what the head means", GatewayFastPath, "_find"),
    ("authenticate: hash of the body, time, token, signature", GatewayFastPath, "_admits"),
    ("authorise: the need is the same, the decision kept", GatewayFastPath, "_take_granted"),
    ("find what the head means to a site", GatewayFastPath, "_take_visit"),
    ("request id, reply, count", GatewayFastPath, "_run"),
    ("cut head and body, choose the way", GatewayFastPath, "take"),
    ("operation: version, payload, trace", FastInvoke, "handle"),
    ("function URL: config, permission, version, trace, event", FastUrl, "handle"),
    ("lease, environment, START, deadline", Invoker, "dispatch"),
    ("hand over: frame, send, wake the guest", RuntimeSession, "invoke"),
    ("hear the guest: read, parse, state", RuntimeSession, "_readable"),
    ("conclude: output, END, REPORT, metering, metrics", ActiveInvocation, "conclude"),
    ("answer of an operation", FastInvoke, "_ended"),
    ("answer of a function URL: parse, status, headers", FastUrl, "_ended"),
    ("fill the head of the answer", _Reply, "answer"),
    ("make the head of the answer", _Reply, "respond"),
    ("leave the answer for the end of the turn", HttpConnection, "reply"),
    ("write the answer, wake the client", HttpConnection, "_reply"),
)
CONNECTIONS = 16
SECONDS = 4.0


def run(folder: Path) -> dict[str, Any]:
    return uvloop.run(_run(folder))


class Stopwatch:
    """Each stage's own seconds, call by call, less what watching costs. What it watches does not
    wait."""

    def __init__(self) -> None:
        self.found: dict[str, list[float]] = {}
        self._inner = [0.0]
        self._own_cost = self._callers_cost = 0.0
        self._calibrate()

    def around(self, owner: Any, method: str, stage: str) -> None:
        original = getattr(owner, method)
        inner, now = self._inner, time.perf_counter

        def timed(*args: Any, **kwargs: Any) -> Any:
            inner.append(0.0)
            begin = now()
            try:
                return original(*args, **kwargs)
            finally:
                took = now() - begin
                own = took - inner.pop() - self._own_cost
                inner[-1] += took + self._callers_cost
                self.found.setdefault(stage, []).append(own)

        setattr(owner, method, timed)

    def _calibrate(self, calls: int = 20_000) -> None:
        """What a watched call of nothing counts for itself, and what it costs its caller beside."""

        class Nothing:
            def call(self) -> None:
                return None

        nothing = Nothing()
        begin = time.perf_counter()
        for _ in range(calls):
            nothing.call()
        bare = (time.perf_counter() - begin) / calls
        self.around(Nothing, "call", "nothing")
        begin = time.perf_counter()
        for _ in range(calls):
            nothing.call()
        whole = (time.perf_counter() - begin) / calls - bare
        self._own_cost = statistics.median(self.found.pop("nothing"))
        self._callers_cost = whole - self._own_cost


async def _run(folder: Path) -> dict[str, Any]:
    watch = Stopwatch()
    originals = [(owner, method, getattr(owner, method)) for _, owner, method in STAGES]
    settings = Settings(
        folder / "data", port=0, quotas=lambda_.adjusted(["requests_per_environment=0"])
    )
    platform = Platform(settings)
    try:
        await platform.start()
        files = await prepare(platform, folder)
        report: dict[str, Any] = {}
        for name, file in files.items():
            report[f"{name}: platform CPU us"] = round(await _cpu(platform, file), 1)
    finally:
        await platform.stop()
    platform = Platform(settings)
    for stage, owner, method in STAGES:
        watch.around(owner, method, stage)
    try:
        await platform.start()
        files = await prepare(platform, folder)
        for name, file in files.items():
            report |= await _stages(platform, file, name, watch, report)
    finally:
        for owner, method, original in originals:
            setattr(owner, method, original)
        await platform.stop()
    return report


async def _cpu(platform: Platform, file: Path) -> float:
    """Microseconds per request, all threads, kernel included, without the stopwatch."""
    await load(platform, file, 1.5)
    begin = time.process_time()
    found = await load(platform, file, SECONDS)
    return (time.process_time() - begin) / int(found["requests"]) * 1e6


async def _stages(
    platform: Platform, file: Path, name: str, watch: Stopwatch, report: dict[str, Any]
) -> dict[str, Any]:
    await load(platform, file, 1.5)
    watch.found.clear()
    found = await load(platform, file, SECONDS)
    lines: dict[str, Any] = {}
    total = 0.0
    for stage, _, _ in STAGES:
        times = watch.found.get(stage, ())
        if len(times) > found["requests"] // 2:
            own = statistics.median(times) * 1e6 * len(times) / found["requests"]
            total += own
            lines[f"{name}: {stage} us"] = round(own, 1)
    rest = report[f"{name}: platform CPU us"] - total
    lines[f"{name}: event loop, reads, batches, other threads us"] = round(rest, 1)
    lines[f"{name}: requests per second with the stopwatch"] = round(found["per_second"])
    return lines


async def prepare(platform: Platform, folder: Path) -> dict[str, Path]:
    """The functions, and files of requests to them."""
    call, root = platform.gateway.call, root_of()
    exists = await call("lambda", "ListFunctions", {}, root)
    if not exists["Functions"]:
        await _make_functions(call, root)
    config = await call("lambda", "GetFunctionUrlConfig", {"FunctionName": "Page"}, root)
    port = platform.endpoint.rsplit(":", 1)[1]
    host = f"{config['FunctionUrl'].split('/')[2].partition(':')[0]}:{port}".encode()
    keys = DataFolder(folder / "data").root_keys()
    bodies = [
        json.dumps({"name": f"rider {n}", "numbers": [n, 2, 3]}).encode() for n in range(4000)
    ]
    files = {"invoke": folder / "invoke.requests", "url": folder / "url.requests"}
    target = f"{platform.endpoint}/2015-03-31/functions/Hello/invocations"
    key, secret = keys.access_key_id, keys.secret
    write_requests(
        files["invoke"],
        [signed(target, "POST", body, service="lambda", key=key, secret=secret) for body in bodies],
    )
    write_requests(
        files["url"],
        [
            b"POST / HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (host, len(body), body)
            for body in bodies
        ],
    )
    return files


async def _make_functions(call: Callable[..., Awaitable[dict[str, Any]]], root: Any) -> None:
    role = await call(
        "iam", "CreateRole", {"RoleName": "bench", "AssumeRolePolicyDocument": TRUST}, root
    )
    for name, handler in (("Hello", peers.HANDLER), ("Page", peers.HANDLER + OF_A_URL)):
        made = {
            "FunctionName": name,
            "Runtime": "python3.11",
            "Role": role["Role"]["Arn"],
            "Handler": "lambda_function.lambda_handler",
            "Code": {"ZipFile": package(handler)},
            "MemorySize": 1769,
        }
        await call("lambda", "CreateFunction", made, root)
        while True:
            found = await call("lambda", "GetFunctionConfiguration", {"FunctionName": name}, root)
            if found["State"] == "Active":
                break
            await asyncio.sleep(0.01)
    named = {"FunctionName": "Page"}
    await call("lambda", "CreateFunctionUrlConfig", {**named, "AuthType": "NONE"}, root)
    allowed = {
        "StatementId": "url",
        "Action": "lambda:InvokeFunctionUrl",
        "Principal": "*",
        "FunctionUrlAuthType": "NONE",
    }
    await call("lambda", "AddPermission", {**named, **allowed}, root)
    invoked = {
        "StatementId": "url-invoke",
        "Action": "lambda:InvokeFunction",
        "Principal": "*",
        "InvokedViaFunctionUrl": True,
    }
    await call("lambda", "AddPermission", {**named, **invoked}, root)


async def load(platform: Platform, file: Path, seconds: float) -> dict[str, Any]:
    port = int(platform.endpoint.rsplit(":", 1)[1])
    found = await asyncio.to_thread(run_load, port, CONNECTIONS, seconds, file)
    if found["errors"]:
        raise RuntimeError(found["sample_error"])
    return found

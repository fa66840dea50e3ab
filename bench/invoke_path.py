"""The invoke path without HTTP and signatures: ``python -m bench.invoke_path [isolation]``.

Calls ``Invoker.dispatch`` on real sandboxes with the Python bootstrap: invocations per second with
1 and 16 callers, the median, the CPU that each takes of the event loop's thread, of the platform's
other threads and of the function's environments, and where the time of one invocation goes.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop

from boda import telemetry
from boda.core.clock import SystemClock
from boda.core.ids import Ids
from boda.fleet.active_invocation import ActiveInvocation
from boda.fleet.environment import Environment
from boda.fleet.fleet import Fleet
from boda.invoke.call import Call, Outcome
from boda.invoke.concurrency import Concurrency
from boda.invoke.function_table import FunctionTable
from boda.invoke.path import Invoker
from boda.runtime.catalogue import RuntimeCatalogue
from boda.runtime.frames import FrameReader
from boda.runtime.function import FunctionVersion, LogSettings
from boda.runtime.library import RuntimeLibrary
from boda.runtime.session import RuntimeSession
from boda.sandbox.linux import LinuxSandboxes
from boda.storage.sqlite_rows import SqliteRows

SECONDS = 3.0
HANDLER = (
    "def handler(event, context):\n    return {'name': event['name'], 'sum': sum(event['n'])}\n"
)
PAYLOAD = b'{"name":"x","n":[1,2,3]}'


class _Key:
    access_key_id, secret, session_token, expires_at = "ASIA", "s", "t", None


class _Open:
    def close(self) -> None:
        pass


async def measure(folder: Path, isolation: Any) -> dict[str, Any]:
    code = folder / "code"
    code.mkdir(mode=0o755)
    (code / "app.py").write_text(HANDLER)
    folder.chmod(0o755)
    catalogue = RuntimeCatalogue.discover()
    clock, ids = SystemClock(), Ids()
    database = SqliteRows(folder / "db", [telemetry.metadata])
    recorder = telemetry.build(database, clock)
    await recorder.start()
    sandboxes = LinuxSandboxes(
        folder / "state",
        catalogue,
        RuntimeLibrary(folder / "library"),
        plain=isolation == "process",
        instance=str(folder),
    )
    await sandboxes.open()
    fleet = Fleet(
        sandboxes,
        recorder,
        clock,
        ids,
        credentials=lambda version: _Key(),
        serve_endpoint=lambda listening, environment: _Open(),
    )
    invoker = Invoker(fleet, Concurrency(requests_per_unit=0), FunctionTable(), recorder)
    runtime = [name for name in catalogue if name.startswith("python")][-1]
    version = FunctionVersion(
        account="000000000000",
        region="us-east-1",
        name="f",
        version="$LATEST",
        revision_id="1",
        role_arn="",
        runtime=runtime,
        handler="app.handler",
        code_dir=code,
        memory_mb=1769,
        log=LogSettings("/aws/lambda/f"),
    )
    report: dict[str, Any] = {"runtime": runtime}
    try:
        began = time.perf_counter()
        outcome = await invoker.invoke(Call(version, PAYLOAD, ids.uuid(), version.arn))
        report["first call, ms"] = round((time.perf_counter() - began) * 1e3, 1)
        assert outcome.payload == b'{"name": "x", "sum": 6}', outcome
        for callers in (1, 16):
            report |= await _load(invoker, version, ids, fleet, callers)
        report |= await _stages(invoker, version, ids)
    finally:
        await fleet.close()
        await sandboxes.close()
        await recorder.stop()
        database.close()
    return report


class _Caller:
    """Calls again as soon as its call is answered."""

    def __init__(self, invoker: Invoker, version: FunctionVersion, ids: Ids) -> None:
        self._invoker = invoker
        self._version = version
        self._ids = ids
        self._began = 0.0
        self._until = 0.0
        self._stopped = asyncio.Event()
        self.times: list[float] = []

    async def run(self, seconds: float) -> None:
        self.times.clear()
        self._stopped.clear()
        self._until = time.perf_counter() + seconds
        self._call()
        await self._stopped.wait()

    def _call(self) -> None:
        self._began = time.perf_counter()
        version = self._version
        self._invoker.dispatch(Call(version, PAYLOAD, self._ids.uuid(), version.arn), self._done)

    def _done(self, outcome: Outcome | None, error: BaseException | None) -> None:
        assert outcome is not None and not outcome.function_error, (outcome, error)
        now = time.perf_counter()
        self.times.append(now - self._began)
        if now < self._until:
            self._call()
        else:
            self._stopped.set()


async def _load(
    invoker: Invoker, version: FunctionVersion, ids: Ids, fleet: Fleet, callers: int
) -> dict[str, Any]:
    load = [_Caller(invoker, version, ids) for _ in range(callers)]
    await asyncio.gather(*(caller.run(1.0) for caller in load))
    loop, process, guests = time.thread_time(), time.process_time(), _guests_s(fleet)
    await asyncio.gather(*(caller.run(SECONDS) for caller in load))
    loop, process = time.thread_time() - loop, time.process_time() - process
    times = sorted(each for caller in load for each in caller.times)
    each_us = 1e6 / len(times)
    return {
        f"x{callers} per second": round(len(times) / SECONDS),
        f"x{callers} p50, µs": round(statistics.median(times) * 1e6),
        f"x{callers} p99, µs": round(times[len(times) * 99 // 100] * 1e6),
        f"x{callers} CPU of the loop, µs": round(loop * each_us, 1),
        f"x{callers} CPU of other threads, µs": round((process - loop) * each_us, 1),
        f"x{callers} CPU of the function, µs": round((_guests_s(fleet) - guests) * each_us, 1),
    }


def _guests_s(fleet: Fleet) -> float:
    """CPU that the environments used so far, seconds."""
    sandboxes = (environment._sandbox for environment in fleet._live.values())
    return sum(sandbox.usage().cpu_s for sandbox in sandboxes if sandbox is not None)


async def _stages(invoker: Invoker, version: FunctionVersion, ids: Ids) -> dict[str, Any]:
    """Medians of the steps of one call, by what is called on its way."""
    marks: list[tuple[str, float]] = []

    def watch(owner: type, name: str, before: str, after: str) -> Any:
        original = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            marks.append((before, time.perf_counter()))
            try:
                return original(*args, **kwargs)
            finally:
                marks.append((after, time.perf_counter()))

        setattr(owner, name, watched)
        return original

    originals = {
        (Environment, "run"): watch(Environment, "run", "run", "sent"),
        (RuntimeSession, "invoke"): watch(RuntimeSession, "invoke", "encode", "encoded"),
        (FrameReader, "answer"): watch(FrameReader, "answer", "answered", "read"),
        (ActiveInvocation, "conclude"): watch(
            ActiveInvocation, "conclude", "conclude", "concluded"
        ),
    }
    spans: dict[str, list[float]] = {}
    try:
        for _ in range(2000):
            marks.clear()
            began = time.perf_counter()
            await invoker.invoke(Call(version, PAYLOAD, ids.uuid(), version.arn))
            ended = time.perf_counter()
            at = dict(marks)
            for name, start, end in (
                ("lease and environment", began, at["run"]),
                ("start of invocation, START", at["run"], at["encode"]),
                ("encode and send", at["encode"], at["encoded"]),
                ("guest and wake-ups", at["sent"], at["answered"]),
                ("parse", at["answered"], at["conclude"]),
                ("drain, END, metering", at["conclude"], at["concluded"]),
                ("back to the caller", at["concluded"], ended),
            ):
                spans.setdefault(name, []).append(end - start)
    finally:
        for (owner, name), original in originals.items():
            setattr(owner, name, original)
    return {
        f"stage: {name}, µs": round(statistics.median(values) * 1e6, 1)
        for name, values in spans.items()
    }


def run(folder: Path, isolation: Any = "full") -> dict[str, Any]:
    return uvloop.run(measure(folder, isolation))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="boda-bench-") as place:
        for key, value in run(Path(place), *sys.argv[1:]).items():
            print(f"{key:40} {value}")

"""A fork of a template, step by step, and beside it the start that it replaces:
``python -m bench.templates [runtime]``.

The function makes a boto3 client when it is imported. From the call of ``fork`` to READY, and the
same for ``start``; medians, each step on its own. CPU is that of the runtime process alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from pathlib import Path

from bench.sandbox import child_of, idle_mb, main, medians
from boda.runtime.catalogue import RuntimeCatalogue
from boda.runtime.library import RuntimeLibrary
from boda.sandbox.contract import Sandbox, SandboxSpec
from boda.sandbox.linux import LinuxSandboxes

COUNT = 30
READY, SNAPSHOTTED = b"\0\0\0\1\2", b"\0\0\0\1\x09"
_FUNCTION = """
import time

import boto3
from snapshot_restore_py import register_after_restore

client = boto3.client("s3", region_name="us-east-1")


@register_after_restore
def mark():
    print("restored", time.monotonic())


def handler(event, context):
    return "ok"
"""


def _cpu_s(pid: int) -> float:
    """What a process has run so far."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


async def _hear(sandbox: Sandbox, wanted: bytes) -> float:
    """When it said so."""
    said = await asyncio.get_running_loop().sock_recv(sandbox.channel, 1 << 16)
    if said != wanted:
        raise RuntimeError(f"the runtime said {said!r}")
    return time.monotonic()


def _restored(sandbox: Sandbox) -> float:
    with contextlib.closing(open(sandbox.log, "rb", 0, closefd=False)) as log:
        words = log.read(1 << 16) or b""
    return float(words.split(b"restored ")[1].split(b"\n")[0])


async def measure(folder: Path, runtime: str) -> dict[str, float]:
    code = folder / "code"
    code.mkdir()
    (code / "app.py").write_text(_FUNCTION)
    catalogue = RuntimeCatalogue.discover()
    runtime = runtime or [name for name in catalogue if name.startswith("python")][-1]
    sandboxes = LinuxSandboxes(
        folder / "state", catalogue, RuntimeLibrary(folder / "library"), instance=str(folder)
    )
    environment = {
        "_HANDLER": "app.handler",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "PYTHONPATH": "/var/runtime",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
    }

    def spec(number: object, *, template: bool = False) -> SandboxSpec:
        return SandboxSpec(
            f"bench-{number}",
            runtime,
            code,
            memory_mb=1769,
            environment=environment,
            template=template,
        )

    times: dict[str, list[float]] = defaultdict(list)
    report: dict[str, float] = {}
    try:
        await sandboxes.warm(runtime, code)
        began = time.monotonic()
        template = await sandboxes.start(spec("template", template=True))
        report["template: init and image, ms"] = (await _hear(template, SNAPSHOTTED) - began) * 1e3
        began = time.monotonic()
        first = await sandboxes.fork(template, spec("first"))
        await _hear(first, READY)
        report["first fork, which waits for the zygote, ms"] = (time.monotonic() - began) * 1e3
        await first.destroy()
        for number in range(COUNT):
            await asyncio.sleep(0.2)  # the pools fill again, as between real cold starts
            before = began = time.monotonic()
            fork = await sandboxes.fork(template, spec(f"fork-{number}"))
            ready = await _hear(fork, READY)
            for step, at in [*fork.marks, ("image, /tmp, descriptors", _restored(fork))]:  # type: ignore[attr-defined]
                times[f"fork: {step}"].append((at - before) * 1e3)
                before = at
            times["fork: hooks and READY"].append((ready - before) * 1e3)
            times["fork, all of it"].append((ready - began) * 1e3)
            times["CPU of a fork's runtime until READY"].append(_cpu_s(child_of(fork.pid)) * 1e3)
            await fork.destroy()
            await asyncio.sleep(0.2)
            began = time.monotonic()
            start = await sandboxes.start(spec(f"start-{number}"))
            times["start and init without a template"].append(
                (await _hear(start, READY) - began) * 1e3
            )
            times["CPU of a start's runtime until READY"].append(_cpu_s(child_of(start.pid)) * 1e3)
            await start.destroy()
        report |= medians(times)
        idle = [await sandboxes.fork(template, spec(f"idle-{number}")) for number in range(10)]
        for one in idle:
            await _hear(one, READY)
        report["idle fork with its init, MB (PSS, one of ten)"] = idle_mb(idle)
    finally:
        await sandboxes.close()
    return report


def run(folder: Path, runtime: str = "") -> dict[str, float]:
    return asyncio.run(measure(folder, runtime))


if __name__ == "__main__":
    main(run)

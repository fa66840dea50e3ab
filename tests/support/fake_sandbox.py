"""Sandboxes without isolation and without processes: a scripted guest (``fake_guests.py``) behind
real descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boda.core.clock import Clock
from boda.runtime.function import FunctionVersion, LogSettings
from boda.sandbox.contract import Exit, ResourceUsage, SandboxError, SandboxSpec
from boda.telemetry.contract import MeteredInvocation, StreamKey
from boda.telemetry.tally import tally
from support.fake_guests import FramedGuest, Guest, Invoked


def function(name: str = "f", revision: str = "1", **fields: Any) -> FunctionVersion:
    defaults: dict[str, Any] = {
        "account": "000000000000",
        "region": "us-east-1",
        "name": name,
        "version": "$LATEST",
        "revision_id": revision,
        "role_arn": "arn:aws:iam::000000000000:role/r",
        "runtime": "python3.12",
        "handler": "app.handler",
        "code_dir": Path("/nowhere"),
        "log": LogSettings(f"/aws/lambda/{name}"),
    }
    return FunctionVersion(**{**defaults, **fields})


class FakeSandbox:
    def __init__(
        self, owner: FakeSandboxes, spec: SandboxSpec, template: FakeSandbox | None = None
    ) -> None:
        self.owner = owner
        self.spec = spec
        self.pid = 4711
        self.shared_bytes = owner.shared_bytes
        self.began_s = owner.clock.monotonic()
        self.frozen = False
        self.freezes = 0
        self.on_thaw: list[Callable[[], None]] = []
        self.destroyed = False
        self.restarts = 0
        self.cpu_limits = 0
        self.peak = 30 << 20
        self.environment = spec.environment
        self.runtime_api = socket.socket(socket.AF_UNIX)
        self.runtime_api.bind("")
        self.runtime_api.listen(128)
        self.runtime_api.setblocking(False)
        self.endpoint = socket.create_server(("127.0.0.1", 0))
        self.template = template
        self.snapshotted = False
        self._begin()

    def _begin(self) -> None:
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        self.console, console = os.pipe()
        self.log, log = os.pipe()
        os.set_blocking(self.console, False)
        os.set_blocking(self.log, False)
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        framed = self.spec.template or self.template is not None  # SnapStart is over frames only
        made = FramedGuest if framed else self.owner.framing(self.spec)
        self.guest: Guest = made(self, theirs, console, log)
        self.owner.guests.append(self.guest)
        if self.spec.template:
            self.owner.snapshot(self.guest)
        elif self.template is not None:
            self.owner.restore(self.guest)
        else:
            self.owner.init(self.guest)

    def _close_ends(self) -> None:
        self.channel.close()
        os.close(self.console)
        os.close(self.log)

    def ended(self, guest: Guest, end: Exit) -> None:
        if guest is self.guest and not self._exit.done():
            self._exit.set_result(end)

    async def wait_runtime(self) -> Exit:
        return await asyncio.shield(self._exit)

    async def restart(self, environment: Mapping[str, str]) -> None:
        await asyncio.sleep(0)
        if self.owner.fail_restarts:
            raise SandboxError("cannot restart")
        assert not self.destroyed
        self.guest.exit(None, 9)
        self._close_ends()
        self.restarts += 1
        self.environment = environment
        self._begin()

    async def stop_runtime(self, grace_s: float = 0.0) -> None:
        await asyncio.sleep(0)
        if self.owner.fail_stops:
            raise SandboxError("cannot be stopped")
        self.guest.exit(None, 9)

    def freeze(self) -> None:
        self.frozen = True
        self.freezes += 1

    def thaw(self) -> None:
        self.frozen = False
        woken, self.on_thaw = self.on_thaw, []
        for listen in woken:
            listen()

    def usage(self) -> ResourceUsage:
        return ResourceUsage(20 << 20, self.peak, 0.1)

    def peak_bytes(self) -> int:
        return self.peak

    def reset_peak(self) -> None:
        self.peak = 0

    def init_done(self) -> None:
        self.cpu_limits += 1

    async def destroy(self) -> None:
        await asyncio.sleep(0)
        if self.destroyed:
            return
        self.destroyed = True
        self.guest.exit(None, 9)
        self._close_ends()
        self.runtime_api.close()
        self.endpoint.close()


def init_well(guest: Guest) -> None:
    guest.ready()


def snapshot_well(guest: FramedGuest) -> None:
    guest.snapshotted()


def echo(guest: Guest, invoked: Invoked) -> None:
    guest.respond(invoked, invoked.payload)


class FakeSandboxes:
    """``init`` and ``handle`` are the script; tests replace them.

    ``snapshot`` is a template's script, ``restore`` that of what is forked from one. ``framing`` is
    how other guests speak.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.made: list[FakeSandbox] = []
        self.guests: list[Guest] = []
        self.init: Callable[[Guest], None] = init_well
        self.snapshot: Callable[[FramedGuest], None] = snapshot_well
        self.restore: Callable[[Guest], None] = init_well
        self.handle: Callable[[Guest, Invoked], None] = echo
        self.framing: Callable[[SandboxSpec], type[Guest]] = lambda spec: FramedGuest
        self.can_fork = True
        self.fail_forks = 0
        self.fail_ripening = False
        self.fork_gate: asyncio.Event | None = None
        self.fail_starts = 0
        self.fail_restarts = False
        self.fail_stops = False
        self.start_gate: asyncio.Event | None = None
        self.used_mb = 0
        self.shared_bytes = 0

    def memory_mb(self) -> int:
        return self.used_mb

    @property
    def alive(self) -> list[FakeSandbox]:
        return [sandbox for sandbox in self.made if not sandbox.destroyed]

    async def start(self, spec: SandboxSpec) -> FakeSandbox:
        await asyncio.sleep(0)
        if self.start_gate is not None:
            await self.start_gate.wait()
        if self.fail_starts:
            self.fail_starts -= 1
            raise SandboxError("no more of them")
        sandbox = FakeSandbox(self, spec)
        self.made.append(sandbox)
        return sandbox

    async def warm(
        self, runtime: str, code_dir: Path | None = None, layer_dirs: Sequence[Path] = ()
    ) -> None:
        pass

    async def ripen(self, template: FakeSandbox) -> None:
        await asyncio.sleep(0)
        if template.destroyed or self.fail_ripening:
            raise SandboxError("there is no image")

    async def fork(self, template: FakeSandbox, spec: SandboxSpec) -> FakeSandbox:
        """Of a template that has been snapshotted, and is not destroyed."""
        await asyncio.sleep(0)
        if self.fork_gate is not None:
            await self.fork_gate.wait()
        assert template.spec.code_dir == spec.code_dir and not spec.template
        if self.fail_forks or template.destroyed or not template.snapshotted:
            self.fail_forks = max(0, self.fail_forks - 1)
            raise SandboxError("it cannot be forked")
        sandbox = FakeSandbox(self, spec, template)
        self.made.append(sandbox)
        return sandbox

    async def close(self) -> None:
        for sandbox in self.made:
            await sandbox.destroy()


@dataclass
class FakeTelemetry:
    logs: dict[StreamKey, list[tuple[int, str]]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    metered: list[MeteredInvocation] = field(default_factory=list)
    metrics: list[tuple[str, float, tuple[tuple[str, str], ...]]] = field(default_factory=list)
    room: asyncio.Event | None = None
    asked_for_room: int = 0

    def log(self, key: StreamKey, events: Iterable[tuple[int, str]]) -> None:
        self.logs.setdefault(key, []).extend(events)

    def log_dropped(self, key: StreamKey, count: int, why: str) -> None:
        self.dropped[why] = self.dropped.get(why, 0) + count

    async def log_room(self) -> None:
        self.asked_for_room += 1
        if self.room is not None:
            await self.room.wait()

    def meter(self, invocation: MeteredInvocation) -> None:
        self.metered.append(invocation)
        for (series, _), found in tally([invocation]).minutes.items():
            self.metrics.append((series[3], found.sum, series[4]))

    def metric(
        self,
        account: str,
        region: str,
        namespace: str,
        name: str,
        value: float,
        dimensions: Mapping[str, str] | None = None,
        unit: str = "Count",
    ) -> None:
        self.metrics.append((name, value, tuple(sorted((dimensions or {}).items()))))

    def measure(
        self,
        account: str,
        region: str,
        namespace: str,
        values: Sequence[tuple[str, float, str]],
        dimensions: Mapping[str, str],
    ) -> None:
        for name, value, unit in values:
            self.metric(account, region, namespace, name, value, dimensions, unit)

    async def flush(self) -> None:
        pass

    def lines(self) -> list[str]:
        """All messages, stream by stream."""
        return [message for events in self.logs.values() for _, message in events]


@dataclass(frozen=True)
class Keys:
    """Credentials of a role."""

    access_key_id: str = "ASIAEXAMPLE"
    secret: str = "secret"
    session_token: str = "token"
    expires_at: float | None = None


def wall_ms() -> int:
    return int(time.time() * 1000)

"""Sandboxes without isolation and without processes: a scripted guest behind real descriptors."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boda.core.clock import Clock
from boda.runtime import frames
from boda.runtime.function import FunctionVersion, LogSettings
from boda.sandbox.contract import Exit, ResourceUsage, SandboxError, SandboxSpec
from boda.telemetry.contract import Metered, StreamKey
from boda.telemetry.tally import tally


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


@dataclass
class Invoked:
    """An INVOKE frame as the guest sees it."""

    id: bytes
    header: dict[str, Any]
    payload: bytes

    @property
    def request_id(self) -> str:
        return self.header["id"]


class Guest:
    """What runs in a fake sandbox. Scripts call its methods."""

    def __init__(self, sandbox: FakeSandbox, channel: socket.socket, console: int, log: int):
        self.sandbox = sandbox
        self.invoked: list[Invoked] = []
        self.alive = True
        self._channel = channel
        self._console = console
        self._log = log
        self._buffer = b""
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel.fileno(), self._readable)

    def _readable(self) -> None:
        if self.sandbox.frozen:
            self._loop.remove_reader(self._channel.fileno())
            self.sandbox.on_thaw = self._listen
            return
        try:
            data = self._channel.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._channel.fileno())
            return
        self._buffer += data
        while len(self._buffer) >= 4:
            (length,) = struct.unpack_from(">I", self._buffer)
            if len(self._buffer) < length + 4:
                return
            body, self._buffer = self._buffer[5 : length + 4], self._buffer[length + 4 :]
            (head,) = struct.unpack_from(">I", body, 8)
            invoked = Invoked(body[:8], json.loads(body[12 : 12 + head]), body[12 + head :])
            self.invoked.append(invoked)
            self.sandbox.owner.handle(self, invoked)

    def _listen(self) -> None:
        if self.alive:
            self._loop.add_reader(self._channel.fileno(), self._readable)

    def send(self, data: bytes) -> None:
        """What the channel does not take now goes when it does."""
        if self.alive:
            self._unsent += data
            self._send_on()

    def _send_on(self) -> None:
        try:
            sent = self._channel.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            # Its end is closed: nobody hears it any more.
            self._unsent.clear()
            if self._channel.fileno() >= 0:
                self._loop.remove_writer(self._channel.fileno())
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._channel.fileno(), self._send_on)
        else:
            self._loop.remove_writer(self._channel.fileno())

    def frame(self, kind: int, body: bytes) -> None:
        self.send(struct.pack(">IB", len(body) + 1, kind) + body)

    def ready(self) -> None:
        self.frame(2, b"")

    def snapshotted(self) -> None:
        """Init and the before-snapshot hooks are done; the image is complete."""
        self.frame(frames.SNAPSHOTTED, b"")
        self.sandbox.snapshotted = True
        self.exit(0)

    def respond(self, invoked: Invoked | bytes, payload: bytes = b"null") -> None:
        self.frame(3, (invoked if isinstance(invoked, bytes) else invoked.id) + payload)

    def fail(self, invoked: Invoked, error_type: str, body: bytes = b"{}") -> None:
        name = error_type.encode()
        self.frame(4, invoked.id + struct.pack(">H", len(name)) + name + body)

    def init_error(self, error_type: str, body: bytes = b"{}") -> None:
        name = error_type.encode()
        self.frame(5, struct.pack(">H", len(name)) + name + body)

    def write(self, text: str | bytes) -> None:
        """To the console."""
        os.write(self._console, text.encode() if isinstance(text, str) else text)

    def log(self, text: str, micros: int | None = None) -> None:
        """A framed record."""
        micros = int(self.sandbox.owner.clock.now() * 1e6) if micros is None else micros
        data = text.encode()
        os.write(self._log, struct.pack(">IIQ", 0xA55A0003, len(data), micros) + data)

    def exit(
        self,
        status: int | None = 0,
        signal: int | None = None,
        oom: bool = False,
        machine: bool = False,
    ) -> None:
        if not self.alive:
            return
        self.alive = False
        self._loop.remove_reader(self._channel.fileno())
        self._loop.remove_writer(self._channel.fileno())
        self._channel.close()
        os.close(self._console)
        os.close(self._log)
        self.sandbox.ended(self, Exit(status, signal, oom, machine))


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
        self.on_thaw: Callable[[], None] | None = None
        self.destroyed = False
        self.restarts = 0
        self.cpu_limits = 0
        self.peak = 30 << 20
        self.environment = spec.environment
        self.runtime_api = socket.create_server(("127.0.0.1", 0))
        self.runtime_api.setblocking(False)
        self.endpoint = socket.create_server(("127.0.0.1", 0))
        self.template = template
        self.snapshotted = False
        self._begin()

    def _begin(self) -> None:
        self.channel, theirs = socket.socketpair()
        self.channel.setblocking(False)
        theirs.setblocking(False)
        self.console, console = os.pipe()
        self.log, log = os.pipe()
        os.set_blocking(self.console, False)
        os.set_blocking(self.log, False)
        self._exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.guest = Guest(self, theirs, console, log)
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
        if self.on_thaw is not None:
            woken, self.on_thaw = self.on_thaw, None
            woken()

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


def snapshot_well(guest: Guest) -> None:
    guest.snapshotted()


def echo(guest: Guest, invoked: Invoked) -> None:
    guest.respond(invoked, invoked.payload)


class FakeSandboxes:
    """``init`` and ``handle`` are the script; tests replace them.

    ``snapshot`` is a template's script, ``restore`` that of what is forked from one.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.made: list[FakeSandbox] = []
        self.guests: list[Guest] = []
        self.init: Callable[[Guest], None] = init_well
        self.snapshot: Callable[[Guest], None] = snapshot_well
        self.restore: Callable[[Guest], None] = init_well
        self.handle: Callable[[Guest, Invoked], None] = echo
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
    metered: list[Metered] = field(default_factory=list)
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

    def meter(self, invocation: Metered) -> None:
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

"""The Lambda service behind a gateway, with stand-ins for what is below and beside it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import stat
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import support.world
from boda.core.clock import Clock, ManualClock
from boda.core.errors import AwsError
from boda.core.health import log_damage
from boda.core.principal import Principal
from boda.fleet.provisioned import ProvisionedStatus
from boda.fleet.template import SnapshotFailed
from boda.gateway.http.wire import Stream
from boda.invoke.call import Call, Done, Outcome
from boda.invoke.concurrency import Concurrency
from boda.invoke.function_table import FunctionTable
from boda.plug import Compute, Host
from boda.runtime.function import FunctionVersion
from boda.services import lambda_
from boda.telemetry.contract import MeteredUrlRequest
from support.in_place import InPlaceRows, without_threads
from support.world import ACCOUNT, NotingPost, NotingTelemetry

ROLE = f"arn:aws:iam::{ACCOUNT}:role/worker"


def package(files: Mapping[str, str | bytes] | None = None, **modes: int) -> bytes:
    """A zip file. modes: Unix modes by file name with dots as underscores."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (files or {"app.py": "def handler(event, context): pass\n"}).items():
            info = zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0))
            mode = modes.get(name.replace(".", "_").replace("/", "_"), stat.S_IFREG | 0o644)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return buffer.getvalue()


class Roles:
    """Every role trusts Lambda but those named, and may do everything but the actions named.

    asked: what ``may`` was asked, in order.
    """

    def __init__(self) -> None:
        self.distrusted: set[str] = set()
        self.denied: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.tags: dict[str, dict[str, str]] = {}

    def trusts(self, role_arn: str, function_arn: str) -> bool:
        return role_arn not in self.distrusted

    def may(self, role_arn: str, function: str, action: str, resource: str) -> bool:
        self.asked.append((action, resource))
        return action not in self.denied

    def role_tags(self, role_arn: str) -> dict[str, str]:
        return self.tags.get(role_arn, {})


class Invoker:
    """Answers each call with what ``respond`` makes of it."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.held: list[Callable[[], None]] | None = None
        """Set to a list, it takes calls that were begun; whoever calls an item ends its call."""
        self.respond: Callable[[Call], Outcome] = lambda call: Outcome(
            call.payload, call.version.version, tail=b"the log"
        )

    async def invoke(self, call: Call) -> Outcome:
        self.calls.append(call)
        return self.respond(call)

    def dispatch(self, call: Call, done: Done) -> None:
        self.calls.append(call)
        if self.held is None:
            self._end(call, done)
        else:
            self.held.append(lambda: self._end(call, done))

    def _end(self, call: Call, done: Done) -> None:
        try:
            outcome = self.respond(call)
        except Exception as error:
            done(None, error)
        else:
            done(outcome, None)


class Queue:
    """Keeps what it accepts. refuses: what it says of the next ones instead. held: what waits to
    be told, if anything is to."""

    def __init__(self) -> None:
        self.accepted: list[dict[str, Any]] = []
        self.refuses: AwsError | None = None
        self.held: list[Callable[[], None]] | None = None

    async def enqueue(self, version: FunctionVersion, payload: bytes, **rest: Any) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.accepted.append({"version": version, "payload": payload, **rest})

    def try_enqueue(
        self,
        version: FunctionVersion,
        payload: bytes,
        accepted: Callable[[AwsError | None], None],
        **rest: Any,
    ) -> bool:
        if self.refuses is None:
            self.accepted.append({"version": version, "payload": payload, "tenant": "", **rest})
        tell = partial(accepted, self.refuses)
        if self.held is None:
            tell()
        else:
            self.held.append(tell)
        return True


class Snapshotter:
    """Takes every snapshot at once; ``gate`` holds them up, ``failures`` make them fail."""

    def __init__(self) -> None:
        self.offered = True
        self.taken: list[FunctionVersion] = []
        self.retired: list[FunctionVersion] = []
        self.failures: list[SnapshotFailed] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def offers_snapshots(self) -> bool:
        return self.offered

    async def snapshot(self, version: FunctionVersion) -> None:
        self.taken.append(version)
        await self.gate.wait()
        if version in self.retired:
            raise SnapshotFailed("dropped")
        if self.failures:
            raise self.failures.pop(0)

    def retire(self, version: FunctionVersion) -> None:
        self.retired.append(version)


class Objects:
    """Objects by (bucket, key), as S3 gives them to whoever calls in process."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], bytes] = {}

    async def call(
        self, service: str, operation: str, params: Mapping[str, Any], *_: Any, **__: Any
    ) -> dict[str, Any]:
        assert (service, operation) == ("s3", "GetObject")
        content = self.held.get((params["Bucket"], params["Key"]))
        if content is None:
            raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
        return {"Body": Stream(_pieces(content), len(content))}


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(content), 65_536):
        yield content[at : at + 65_536]


class _NoneProvisioned:
    def provision(self, version: FunctionVersion, count: int) -> None: ...

    def provisioned(self, version: FunctionVersion) -> ProvisionedStatus:
        return ProvisionedStatus(0, 0)


class _Runtimes:
    def __init__(self, runnable: Callable[[str], bool]) -> None:
        self._runnable = runnable

    def __contains__(self, name: str) -> bool:
        return self._runnable(name)


@dataclass
class World(support.world.World):
    """The service and what surrounds it."""

    service: lambda_.Lambda = field(kw_only=True)
    folder: Path = field(kw_only=True)
    roles: Roles = field(kw_only=True)
    invoker: Invoker = field(kw_only=True)
    queue: Queue = field(kw_only=True)
    objects: Objects = field(kw_only=True)
    snapshotter: Snapshotter = field(kw_only=True)
    noted: NotingTelemetry = field(kw_only=True)

    @property
    def functions(self) -> FunctionTable:
        return self.host.compute.functions

    @property
    def concurrency(self) -> Concurrency:
        return self.host.compute.concurrency

    @property
    def answered(self) -> list[MeteredUrlRequest]:
        return self.noted.told

    async def call(  # type: ignore[override]
        self, operation: str, principal: Principal | None = None, /, **params: Any
    ) -> dict[str, Any]:
        return await self.gateway.call("lambda", operation, params, principal or self.root)

    async def let_everybody(self, name: str = "f") -> None:
        """Call its URL."""
        await self.call(
            "AddPermission",
            FunctionName=name,
            StatementId="url",
            Action="lambda:InvokeFunctionUrl",
            Principal="*",
            FunctionUrlAuthType="NONE",
        )
        await self.call(
            "AddPermission",
            FunctionName=name,
            StatementId="url-invoke",
            Action="lambda:InvokeFunction",
            Principal="*",
            InvokedViaFunctionUrl=True,
        )

    async def create(self, name: str = "f", **params: Any) -> dict[str, Any]:
        """A function that is Active when this returns; the create's answer."""
        given = {
            "Role": ROLE,
            "Runtime": "python3.12",
            "Handler": "app.handler",
            "Code": {"ZipFile": package()},
            **params,
        }
        answer = await self.call("CreateFunction", FunctionName=name, **given)
        await self.settle()
        return answer

    async def again(self) -> lambda_.Lambda:
        """The service as it is after a restart."""
        await self.service.stop()
        made = lambda_.build(self.host, roles=self.roles)
        await made.load()
        await made.start()
        return made

    async def create_three(self, name: str) -> None:
        """A function with the versions 1, 2 and 3."""
        await self.create(name, Publish=True)
        for text in ("2", "3"):
            await self.call("UpdateFunctionConfiguration", FunctionName=name, Description=text)
            await self.settle()
            await self.call("PublishVersion", FunctionName=name)
            await self.settle()

    async def settle(self) -> None:
        """Let what was begun take effect."""
        if isinstance(self.clock, ManualClock):
            await self.clock.advance(3.0)
        else:
            await asyncio.sleep(0.3)

    async def error(  # type: ignore[override]
        self, operation: str, principal: Principal | None = None, /, **params: Any
    ) -> AwsError:
        """The error a call answers."""
        try:
            await self.call(operation, principal, **params)
        except AwsError as error:
            return error
        raise AssertionError(f"{operation} was expected to fail")


@contextlib.asynccontextmanager
async def world(
    folder: Path,
    *beside: str,
    clock: Clock | None = None,
    options: lambda_.Options | None = None,
    runnable: Callable[[str], bool] = lambda runtime: True,
    snapshotter: Snapshotter | None = None,
    provisioner: Any = None,
    functions: FunctionTable | None = None,
    damaged: Callable[[str], None] = log_damage,
) -> AsyncIterator[World]:
    """beside: further services. options: of the service, instead of the usual ones."""
    without_threads()
    made: list[lambda_.Lambda] = []
    roles, invoker, queue, objects = Roles(), Invoker(), Queue(), Objects()
    snapshotter, noted = snapshotter or Snapshotter(), NotingTelemetry()
    machine: Any = SimpleNamespace(
        **_methods(provisioner or _NoneProvisioned(), "provision", "provisioned"),
        **_methods(snapshotter, "offers_snapshots", "snapshot", "retire"),
    )
    surroundings: Any = (invoker, queue, Concurrency(), machine, _Runtimes(runnable))

    def build(host: Host) -> lambda_.Lambda:
        if "s3" not in beside:
            host.call = objects.call
        made.append(lambda_.build(host, roles=roles, options=options))
        return made[0]

    async with support.world.world(
        folder,
        "iam",
        dataclasses.replace(lambda_.PLUG, build=partial(lambda_.plug_in, made=build)),
        *beside,
        clock=clock,
        kind=InPlaceRows,
        compute=Compute(functions or FunctionTable(), *surroundings),
        noting=None if "logs" in beside else noted,
        post=NotingPost(),
        damaged=damaged,
    ) as here:
        yield World(
            here.house,
            here.gateway,
            service=made[0],
            folder=folder,
            roles=roles,
            invoker=invoker,
            queue=queue,
            objects=objects,
            snapshotter=snapshotter,
            noted=noted,
        )


def _methods(owner: object, *names: str) -> dict[str, Any]:
    return {name: getattr(owner, name) for name in names}

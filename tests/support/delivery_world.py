"""The post office on a manual clock, with a database that answers at once and rooms to crash."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import sqlalchemy as sa

from boda import delivery
from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.core.policy import Policy, Question, decide, principal_keys
from boda.core.principal import Principal
from boda.delivery.contract import EventSource
from boda.delivery.lambda_adapter import LambdaAdapter, Permits
from boda.delivery.post_office import Message
from boda.invoke.call import Call, Outcome
from boda.invoke.function_table import LATEST, FunctionTable
from boda.runtime.function import FunctionVersion, LogSettings
from boda.storage.rows import Tx
from boda.storage.schema import Schema
from boda.storage.sqlite_rows import SqliteRows, _engine
from boda.telemetry.contract import MeteredInvocation, StreamKey

T = TypeVar("T")

ACCOUNT, REGION = "000000000000", "us-east-1"
ROLE = Principal(
    "assumed-role",
    ACCOUNT,
    f"arn:aws:sts::{ACCOUNT}:assumed-role/r/f",
    "AROA:f",
    f"arn:aws:iam::{ACCOUNT}:role/r",
)


def by_resource_policy(
    principal: Principal,
    action: str,
    resource: str,
    policy: Policy | None,
    account: str,
    context: Mapping[str, str],
) -> bool:
    keys = {name.lower(): value for name, value in context.items()}
    question = Question(principal, action, resource, {**keys, **principal_keys(principal)})
    return decide(question, resource=policy, account=account).allowed


def add_functions(
    office: delivery.Delivery, functions: FunctionTable, permits: Permits = by_resource_policy
) -> None:
    """Let the post office bring events to functions."""
    office.post.add("lambda", LambdaAdapter(functions, office.queue, Ids(2), permits))


def _careless_engine(path: Path) -> sa.Engine:
    engine = _engine(path)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    return engine


class PromptRows(SqliteRows):
    """Waits for its threads where it stands, so that a manual clock sees no time pass.

    failing: asked before every write; True: the disk refuses.
    """

    failing: Callable[[], bool] = staticmethod(lambda: False)

    def __init__(self, path: Path, metadata: list[Schema]) -> None:
        # Thousands of commits one after the other: the disk itself is not what is tested here.
        with patch("boda.storage.sqlite_rows._engine", _careless_engine):
            super().__init__(path, metadata)

    async def read(self, work: Callable[[Tx], T]) -> T:
        return self.read_now(work)

    async def write(self, work: Callable[[Tx], T]) -> T:
        if self.failing():
            raise OSError(28, "No space left on device")
        return self.write_now(work)


class Telemetry:
    """Counts metrics of functions by name, all by their dimensions and unit; keeps their values
    and log lines."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.values: defaultdict[str, list[float]] = defaultdict(list)
        self.series: dict[str, Counter[tuple[Any, ...]]] = defaultdict(Counter)
        self.lines: list[tuple[StreamKey, str]] = []

    def log(self, key: StreamKey, events: Any) -> None:
        self.lines.extend((key, line) for _, line in events)

    def log_dropped(self, *_: object) -> None: ...

    async def log_room(self) -> None: ...

    def meter(self, invocation: MeteredInvocation) -> None: ...

    def metric(
        self,
        account: str,
        region: str,
        namespace: str,
        name: str,
        value: float,
        dimensions: Any = None,
        unit: str = "Count",
    ) -> None:
        assert namespace == "AWS/Lambda"
        assert set(dimensions) in ({"FunctionName"}, {"FunctionName", "Resource"})
        if "Resource" not in dimensions:
            self.counts[name] += 1
            self.values[name].append(value)
        self.series[name][*sorted(dimensions.items()), unit] += 1

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

    async def flush(self) -> None: ...


class DeadLetters:
    """A carrier that keeps what it is given. failing: what the next ones come to instead."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refuses = False
        self.failing: list[Exception] = []

    def may_deliver(self, target_arn: str, source: EventSource) -> bool:
        return True

    async def deliver(self, target_arn: str, message: Message) -> str:
        if self.refuses:
            raise AwsError("QueueDoesNotExist", "There is no such queue.", 400)
        if self.failing:
            raise self.failing.pop(0)
        self.messages.append(message)
        return "id"


class Scripted:
    """An invoke path whose outcomes a test decides. log: (time, function, request id, trace)."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.log: list[tuple[float, str, str, str]] = []
        self.duration_s: Callable[[Call], float] = lambda call: 0.0
        self.outcome: Callable[[Call], Outcome | Exception] = lambda call: ok(call)
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def invoke(self, call: Call) -> Outcome:
        name = call.version.name
        self.log.append((self._clock.now(), name, call.request_id, call.trace_id))
        self.running[name] += 1
        self.most[name] = max(self.most[name], self.running[name])
        try:
            outcome = self.outcome(call)
            if isinstance(outcome, Exception):
                raise outcome
            duration = self.duration_s(call)
            if duration:
                await self._clock.sleep(duration)
                outcome.duration_ms = duration * 1000
            return outcome
        finally:
            self.running[name] -= 1


def ok(call: Call) -> Outcome:
    return Outcome(b"null", call.version.version)


def failed(call: Call, message: str = "broken") -> Outcome:
    payload = f'{{"errorMessage":"{message}","errorType":"Exception"}}'.encode()
    return Outcome(payload, call.version.version, "Unhandled", "Exception")


def throttled() -> AwsError:
    reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
    return AwsError("TooManyRequestsException", "Rate Exceeded.", 429, Reason=reason)


def arn(name: str) -> str:
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def version(name: str, number: str = LATEST, **settings: Any) -> FunctionVersion:
    return FunctionVersion(
        account=ACCOUNT,
        region=REGION,
        name=name,
        version=number,
        revision_id="r",
        role_arn="",
        runtime="python3.12",
        handler="a.b",
        code_dir=Path("/nowhere"),
        log=LogSettings(f"/aws/lambda/{name}"),
        **settings,
    )


def _nothing_reserved(account: str, region: str, function: str) -> int | None:
    return None


@dataclass
class Office:
    """What survives a crash, and the post office that does not."""

    rows: PromptRows
    clock: ManualClock
    functions: FunctionTable
    invoker: Scripted
    telemetry: Telemetry
    dead: DeadLetters
    random: random.Random
    delivery: delivery.Delivery
    slots: int = 64
    boot: str = "first"
    reserved: Callable[[str, str, str], int | None] = _nothing_reserved

    def function(self, name: str, **settings: Any) -> FunctionVersion:
        made = version(name, **settings)
        self.functions.put(arn(name), LATEST, made)
        return made

    def allow(self, name: str, qualifier: str = LATEST, **condition: Any) -> None:
        """Let S3 post to the function."""
        statement = {
            "Sid": "s3",
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "lambda:InvokeFunction",
            "Resource": arn(name) if qualifier == LATEST else f"{arn(name)}:{qualifier}",
            **({"Condition": condition} if condition else {}),
        }
        document = {"Version": "2012-10-17", "Statement": [statement]}
        self.functions.set_policy(arn(name), qualifier, Policy.parse(document))

    def rebuild(self) -> None:
        self.delivery = delivery.build(
            self.rows,
            self.functions,
            self.invoker,
            self.telemetry,
            self.clock,
            Ids(self.random.randrange(1 << 30)),
            slots=self.slots,
            boot=self.boot,
            reserved=lambda *key: self.reserved(*key),
            role=lambda version: ROLE,
        )
        self.delivery.post.add("sqs", self.dead)
        add_functions(self.delivery, self.functions)

    async def crash(self) -> None:
        """Lose everything that is only in memory, as kill -9 would, and start anew."""
        queue, runner = self.delivery.queue, self.delivery.queue._runner
        journal = runner.journal
        queue._open = runner._open = False
        for _, timer in runner._timers.values():
            timer.cancel()
        if journal._timer is not None:
            journal._timer.cancel()
        tasks = [
            *queue._tasks._running,
            *runner._tasks._running,
            *([journal._task] if journal._task is not None else []),
        ]
        for task in tasks:
            task.cancel()
        journal._additions, journal._deferrals = [], []
        journal._removals.clear()
        self.rows._riders.clear()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not journal._removals, "nothing may be written after the end"
        self.invoker.running.clear()
        self.rebuild()
        await self.delivery.start()

    async def waiting(self) -> int:
        return await self.delivery.queue.waiting()


def office(folder: Path, seed: int = 1, **settings: Any) -> Office:
    clock = ManualClock()
    made = Office(
        PromptRows(folder / "queue.sqlite", [delivery.metadata]),
        clock,
        FunctionTable(),
        Scripted(clock),
        Telemetry(),
        DeadLetters(),
        random.Random(seed),
        None,  # type: ignore[arg-type]
        **settings,
    )
    made.rebuild()
    return made

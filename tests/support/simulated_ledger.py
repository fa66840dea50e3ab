"""What is true of a simulated world whatever the platform says: who asked what, what was seen at
guests, at the targets of letters and in the logs. It outlives the platform's processes.

What must never be is written down as a ``wrong`` the moment it is seen.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from boda.core.errors import AwsError
from boda.delivery.retry import RetryPolicy
from boda.invoke.call import Call, Outcome
from boda.runtime.function import FunctionVersion
from boda.telemetry.contract import MeteredInvocation, StreamKey
from support.fake_guests import Guest, Invoked
from support.fake_sandbox import FakeTelemetry

LONGEST_S = 150.0
"""No call takes longer than this, whatever happens: waits for room and for starts, three tries."""


@dataclass
class Asked:
    """One call or event of a client. ended: how often it heard of an end."""

    request_id: str
    kind: str
    life: int
    begun_s: float
    name: str
    qualifier: str
    invoked_arn: str = ""
    tenant: str = ""
    retry: RetryPolicy = RetryPolicy()  # noqa: RUF009 (frozen)
    dead_letters: bool = False
    """Of an event: how long it is tried, and whether its function has dead letters."""
    ended: int = 0
    left: bool = False
    """The client has gone, and hears of no end."""
    acknowledged: bool = False
    """An event that was accepted."""


@dataclass
class Ledger:
    trace: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    now: Any = lambda: 0.0
    life: int = 0
    asked: dict[str, Asked] = field(default_factory=dict)
    attempt: dict[str, Call] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    """Attempts that have begun and not ended in this life, and when."""
    seen: Counter[str] = field(default_factory=Counter)
    failed: defaultdict[str, list[tuple[int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """In which life and when the attempts of an event ended in a function error."""
    succeeded: dict[str, int] = field(default_factory=dict)
    """In which life an event's success was told to the queue."""
    told: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """What was told of the end of an event, by its request id."""
    gone: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When a function's qualifiers, or (under its name) all of it, went away."""
    belongs: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    lines: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """START, END and REPORT lines by their request ids."""
    billed: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    died_in: Counter[str] = field(default_factory=Counter)
    """How often the process died while an attempt ran."""
    counts: Counter[str] = field(default_factory=Counter)
    deaf: bool = False
    """While a process that has died is cleared away: nobody hears what it still says."""

    def note(self, what: str) -> None:
        if self.deaf:
            return
        self.trace.append(f"{self.now():12.4f} {what}")

    def fault(self, what: str) -> None:
        if self.deaf:
            return
        self.note(f"WRONG {what}")
        self.wrong.append(what)

    # Attempts

    def begins(self, call: Call) -> None:
        rid = call.request_id
        if self.deaf:
            return
        if rid in self.begun:
            self.fault(f"{rid} is run twice at once")
        self.attempt[rid] = call
        self.begun[rid] = self.now()
        asked = self.asked.get(rid)
        runs_as = (call.version.name, call.invoked_arn, call.tenant)
        if asked is not None and runs_as != (asked.name, asked.invoked_arn, asked.tenant):
            self.fault(f"{rid} for {asked.invoked_arn} {asked.tenant} is run as {runs_as}")
        if call.synchronous:
            return
        if self.succeeded.get(rid) == self.life:
            self.fault(f"{rid} runs again after its success")
        in_this_life = [at for life, at in self.failed[rid] if life == self.life]
        waited = (60.0, 120.0)[: len(in_this_life)]
        if waited and self.now() - in_this_life[-1] < waited[-1] - 1e-3:
            self.fault(f"{rid} is tried again {self.now() - in_this_life[-1]:g} s after it failed")

    def ends(self, call: Call, outcome: Outcome | None, error: BaseException | None) -> None:
        """An attempt's end as it was told."""
        rid = call.request_id
        if self.deaf:
            return
        if self.begun.pop(rid, None) is None:
            self.fault(f"{rid} ends without having begun")
        lines = self.lines[rid]
        if outcome is None:
            known = isinstance(error, AwsError) and error.status in (400, 403, 408, 409, 429, 500)
            if not known and not isinstance(error, asyncio.CancelledError):  # its caller has gone
                self.fault(f"{rid} ended with {error!r}")
            self.note(f"{rid} refused {getattr(error, 'code', error)}")
            self.counts["refused"] += 1
            return
        lines["outcomes"] += 1
        self.billed[rid]["outcomes"] += outcome.billed_ms
        if not lines["START"] >= lines["END"] == lines["REPORT"] == lines["metered"]:
            self.fault(f"{rid} logged {dict(lines)}")
        if outcome.function_error:
            self.note(f"{rid} failed {outcome.error_type}")
            self.counts["failed"] += 1
            self.failed[rid].append((self.life, self.now()))
            words = outcome.payload.decode("utf-8", "replace")
            if "RequestId: " in words and f"RequestId: {rid} " not in words:
                self.fault(f"{rid} heard of another's failure: {words}")
            if "nonce" in words and json.loads(words)["nonce"] != rid:
                self.fault(f"{rid} got another's failure: {words}")
            return
        self.note(f"{rid} answered")
        self.counts["answered"] += 1
        if not call.synchronous:
            self.succeeded[rid] = self.life
        if call.stream is None:
            self.check_answer(rid, outcome.payload)

    def check_answer(self, rid: str, payload: bytes) -> None:
        try:
            body = json.loads(payload)
        except ValueError:
            self.fault(f"{rid} got {payload[:60]!r}")
            return
        version = self.attempt[rid].version
        wanted = {"nonce": rid, "revision": version.revision_id, "tenant": self.attempt[rid].tenant}
        if body != wanted:
            self.fault(f"{rid} got {body}, not {wanted}")

    def hears(self, guest: Guest, invoked: Invoked) -> None:
        """An invocation as it arrives at a guest."""
        rid, sandbox = invoked.request_id, guest.sandbox
        self.seen[rid] += 1
        self.counts[f"over {guest.framing}"] += 1
        self.note(f"{rid} at {sandbox.spec.sandbox_id[:6]}")
        call = self.attempt.get(rid)
        if call is None:
            self.fault(f"{rid} was never asked")
            return
        if json.loads(invoked.payload)["nonce"] != rid:
            self.fault(f"{rid} carries {invoked.payload!r}")
        is_of = sandbox.spec.environment
        serves = (
            is_of["AWS_LAMBDA_FUNCTION_NAME"],
            is_of["AWS_LAMBDA_FUNCTION_VERSION"],
            is_of["REVISION"],
            invoked.header.get("tenant", ""),
        )
        version = call.version
        if serves != (version.name, version.version, version.revision_id, call.tenant):
            self.fault(f"{rid} for {version.key} {call.tenant} runs in {serves}")
        template = sandbox.template
        if template is not None and template.spec.environment["REVISION"] != version.revision_id:
            self.fault(f"{rid} runs in what was forked of another revision")
        if self.belongs.setdefault(sandbox.spec.sandbox_id, serves) != serves:
            self.fault(f"{rid} crosses over into {self.belongs[sandbox.spec.sandbox_id]}")
        asked = self.asked.get(rid)
        if asked is None or (asked.kind != "event" and self.seen[rid] > 1):
            self.fault(f"{rid} runs {self.seen[rid]} times")

    def lost_process(self) -> None:
        for rid in self.begun:
            self.died_in[rid] += 1
        self.begun.clear()
        for asked in self.asked.values():
            if asked.life == self.life and not asked.ended:
                asked.left = True

    # Events

    def letter(self, event: bytes, attributes: Any) -> None:
        """What a target was told."""
        if attributes:
            self.told[attributes["RequestID"].value].append("dead letter")
            self.note(f"{attributes['RequestID'].value} dead letter")
            return
        self.record(json.loads(event), "told")

    def record(self, record: dict[str, Any], how: str) -> None:
        context = record["requestContext"]
        rid, condition = context["requestId"], context["condition"]
        self.told[rid].append(condition)
        self.note(f"{rid} {how} {condition}")
        if record["requestPayload"]["nonce"] != rid:
            self.fault(f"{rid} told with {record['requestPayload']}")
        answer = record.get("responsePayload")
        if condition == "Success" and answer["nonce"] != rid:
            self.fault(f"{rid} told with {answer}")
        if condition == "Success" and rid not in self.succeeded:
            self.fault(f"{rid} told as a success that nobody saw")
        self._check_given_up(self.asked[rid], condition, context["approximateInvokeCount"])

    def _check_given_up(self, asked: Asked, condition: str, tries: int) -> None:
        """Whether it had come to that."""
        rid, retry = asked.request_id, asked.retry
        if condition == "RetriesExhausted" and not (
            len(self.failed[rid]) >= tries == retry.max_retries + 1
        ):
            self.fault(
                f"{rid} given up after {tries} tries, of {len(self.failed[rid])} that failed"
            )
        age_s = self.now() - asked.begun_s
        next_s = 60.0 * 2 ** (tries - 1) if tries else 0.0
        if condition == "EventAgeExceeded" and age_s + next_s < retry.max_age_s - 1e-3:
            self.fault(f"{rid} given up at an age of {age_s:g} s")
        if asked.dead_letters and condition != "Success" and "dead letter" not in self.told[rid]:
            self.fault(f"{rid} has no dead letter")

    def over(self, asked: Asked) -> bool:
        """Whether the end of an event was told, or there is nobody left to run it."""
        if self.told[asked.request_id]:
            return True
        went = (*self.gone[asked.name], *self.gone[f"{asked.name}:{asked.qualifier}"])
        return any(at >= asked.begun_s for at in went)

    # Checks

    def check_durable(self, on_disk: set[str]) -> None:
        """Each acknowledged event is told of, or on disk."""
        for asked in self.asked.values():
            if asked.acknowledged and asked.request_id not in on_disk and not self.over(asked):
                self.fault(f"{asked.request_id} was acknowledged and is lost")

    def check_times(self) -> None:
        for rid, since in self.begun.items():
            if self.now() - since > LONGEST_S:
                self.fault(f"{rid} has no end after {LONGEST_S:g} s")
                self.begun[rid] = float("inf")

    def check_quiet(self) -> None:
        """When nothing runs any more."""
        for rid in self.begun:
            self.fault(f"{rid} never ended")
        for asked in self.asked.values():
            if asked.ended != (0 if asked.left else 1):
                self.fault(f"{asked.request_id} ended {asked.ended} times")
        for rid, lines in self.lines.items():
            if not lines["END"] == lines["REPORT"] == lines["metered"]:
                self.fault(f"{rid} logged {dict(lines)}")
            if lines["START"] != lines["END"] and not (
                0 < lines["START"] - lines["END"] <= self.died_in[rid]
            ):
                self.fault(f"{rid} logged {dict(lines)} and died {self.died_in[rid]} times")
            if self.billed[rid]["REPORT"] != self.billed[rid]["metered"]:
                self.fault(f"{rid} billed {dict(self.billed[rid])}")


class Witness(FakeTelemetry):
    """Reads the logs and the metering as they come. wired: while the process lives."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self.ledger = ledger
        self.wired = True
        self.beside: Any = None
        """A real recorder that is told the same."""

    def log(self, key: StreamKey, events: Any) -> None:
        if not self.wired:
            return
        events = list(events)
        if self.beside is not None:
            self.beside.log(key, events)
        ledger = self.ledger
        for _, line in events:
            ledger.counts["lines"] += 1
            word, _, rest = line.partition(" RequestId: ")
            if word in ("START", "END", "REPORT"):
                rid = rest.split(None, 1)[0]
                ledger.lines[rid][word] += 1
                if word == "REPORT":
                    billed = rest.partition("Billed Duration: ")[2].partition(" ms")[0]
                    ledger.billed[rid]["REPORT"] += int(billed)
            elif line.startswith("{") and "boda.destination.failed" in line:
                ledger.record(json.loads(json.loads(line)["record"]), "logged")
            elif line.startswith("mine ") and len(line) < 100:
                self._own(key, line)

    def _own(self, key: StreamKey, line: str) -> None:
        """What a function wrote stands in a log of its own."""
        _, sandbox, *names = line.split()
        if len(names) != 1 or len(sandbox) != 32:
            return  # a piece: a full pipe takes no whole lines
        (name,) = names
        if key.group != f"/aws/lambda/{name}" or not key.stream.endswith(sandbox):
            self.ledger.fault(f"{line!r} stands in {key}")

    def meter(self, invocation: MeteredInvocation) -> None:
        if not self.wired:
            return
        if self.beside is not None:
            self.beside.meter(invocation)
        rid = invocation.request_id
        if rid:
            self.ledger.lines[rid]["metered"] += 1
            self.ledger.billed[rid]["metered"] += invocation.billed_ms
        version: FunctionVersion = invocation.function  # type: ignore[assignment]
        by_version = self.ledger.billed[f"{version.name}:{version.version}"]
        by_version["billed_ms"] += invocation.billed_ms
        by_version["requests"] += bool(rid)

    def metric(
        self, account, region, namespace, name, value, dimensions=None, unit="Count"
    ) -> None:
        if self.wired and "Resource" not in (dimensions or {}):
            self.ledger.counts[name] += 1

"""The fast path of Invoke: a synchronous call without further options.

Law of this file: its answers equal those of ``InvocationOperations.invoke``, which gets every call
that is to be refused.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import orjson

from boda.core.payloads import READ_AT_ONCE_BYTES
from boda.gateway.asking.need import Need
from boda.gateway.calling.fast_handler import VARIES, AnswerForm, Reply
from boda.gateway.calling.operation import Answer
from boda.invoke.call import Call, Done, Outcome
from boda.runtime import trace
from boda.runtime.function import FunctionVersion
from boda.sandbox.architectures import runs_here
from boda.services.lambda_.access import StandingNeed, need
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.identifiers import Identifier

_MOST_FORMS = 32


class CallDispatcher(Protocol):
    """The invoke path."""

    def dispatch(self, call: Call, done: Done) -> None: ...


class FastInvoke:
    """One function, as one caller names it. runnable: whether this machine has a runtime."""

    def __init__(
        self,
        core: LambdaCore,
        invoker: CallDispatcher,
        runnable: Callable[[str], bool],
        identifier: Identifier,
    ) -> None:
        self._core = core
        self._invoker = invoker
        self._runnable = runnable
        self._arn = identifier.arn
        self._named_arn = identifier.named_arn
        self._qualifier = identifier.meant
        invoking = partial(need, core, "lambda:InvokeFunction", identifier)
        self.need: Callable[[], Need] = StandingNeed(core, identifier, invoking).current
        self._seen: FunctionVersion | None = None
        self._forms: dict[tuple[str, str], AnswerForm] = {}

    def handle(
        self, request_id: str, headers: Mapping[str, str], body: bytes, reply: Reply
    ) -> bool:
        core = self._core
        version = core.hot.resolve(self._arn, self._qualifier)
        if version is None:
            return False
        if version is not self._seen:
            if not self._plain(version):
                return False
            self._seen = version
        if len(body) > core.quotas.sync_payload_bytes:
            return False
        if not is_json(body):
            return False
        run_under, hops = trace.next_hop(
            headers.get(trace.HEADER, ""), self._arn, core.clock.now(), core.ids.hex
        )
        if hops >= trace.MAX_HOPS and version.recursive_loop == "Terminate":
            return False
        self._invoker.dispatch(
            Call(version, body or b"{}", request_id, self._named_arn, trace_id=run_under),
            partial(self._ended, reply, run_under),
        )
        return True

    def _plain(self, version: FunctionVersion) -> bool:
        return (
            not version.tenant_isolation
            and not version.file_systems
            and version.runtime != ""
            and self._runnable(version.runtime)
            and runs_here(version.runtime, version.architecture)
        )

    def _ended(
        self,
        reply: Reply,
        run_under: str,
        outcome: Outcome | None,
        error: BaseException | None,
    ) -> None:
        if outcome is None:
            reply.fail(error or RuntimeError("no outcome"))
            return
        kind = (outcome.executed_version, outcome.function_error)
        form = self._forms.get(kind)
        if form is None:
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            empty = dataclasses.replace(outcome, payload=b"")
            form = self._forms[kind] = reply.form(answer_of(empty, VARIES, False))
        reply.answer(form, run_under, outcome.payload)


def is_json(body: bytes) -> bool:
    """Return whether a body is JSON and small enough to be read at once; an empty body counts as
    ``{}``."""
    if len(body) > READ_AT_ONCE_BYTES:
        return False
    if body:
        try:
            orjson.loads(body)
        except orjson.JSONDecodeError:
            return False
    return True


def answer_of(outcome: Outcome, run_under: str, tail: bool) -> Answer:
    """Return Invoke's answer. run_under: the trace. tail: with the end of the log."""
    output: dict[str, Any] = {
        "ExecutedVersion": outcome.executed_version,
        "Payload": outcome.payload,
    }
    if outcome.function_error:
        output["FunctionError"] = outcome.function_error
    if tail:
        output["LogResult"] = base64.b64encode(outcome.tail[-4096:]).decode("ascii")
    return Answer(output, headers={"X-Amzn-Trace-Id": run_under})

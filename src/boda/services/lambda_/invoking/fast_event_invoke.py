"""The fast path of Invoke with the type ``Event``: accepted, and answered once it is on disk.

Law of this file: its answers equal those of ``InvocationOperations.invoke``, which gets every call
that is to be refused. Endless loops are detected when the event is run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

from boda.core.errors import AwsError
from boda.gateway.asking.need import Need
from boda.gateway.calling.fast_handler import AnswerForm, Reply
from boda.gateway.calling.operation import Answer
from boda.runtime import trace
from boda.runtime.function import FunctionVersion
from boda.services.lambda_.access import StandingNeed, need
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.invoking.fast_invoke import is_json


class EventAcceptor(Protocol):
    """The durable queue of asynchronous events."""

    def try_enqueue(
        self,
        version: FunctionVersion,
        payload: bytes,
        accepted: Callable[[AwsError | None], None],
        *,
        request_id: str,
        qualifier: str,
        invoked_arn: str,
        trace_id: str,
    ) -> bool:
        """Accept an event; ``accepted`` is called once, when it is durable or with an error.

        Return False, without side effects, while the queue cannot accept events in this way.
        """


class FastEventInvoke:
    """One function, as one caller names it."""

    def __init__(self, core: LambdaCore, queue: EventAcceptor, identifier: Identifier) -> None:
        self._core = core
        self._queue = queue
        self._arn = identifier.arn
        self._named_arn = identifier.named_arn
        self._qualifier = identifier.meant
        invoking = partial(need, core, "lambda:InvokeFunction", identifier)
        self.need: Callable[[], Need] = StandingNeed(core, identifier, invoking).current
        self._form: AnswerForm | None = None

    def handle(
        self, request_id: str, headers: Mapping[str, str], body: bytes, reply: Reply
    ) -> bool:
        quotas = self._core.quotas
        version = self._core.hot.resolve(self._arn, self._qualifier)
        if version is None or not version.runtime or version.file_systems:
            return False
        if version.tenant_isolation or not is_json(body):
            return False
        if len(body) > min(quotas.async_payload_bytes, quotas.sync_payload_bytes):
            return False
        return self._queue.try_enqueue(
            version,
            body or b"{}",
            partial(self._accepted, reply),
            request_id=request_id,
            qualifier=self._qualifier,
            invoked_arn=self._named_arn,
            trace_id=headers.get(trace.HEADER, ""),
        )

    def _accepted(self, reply: Reply, error: AwsError | None) -> None:
        if error is not None:
            reply.fail(error)
            return
        form = self._form
        if form is None:
            form = self._form = reply.form(Answer(status=202))
        reply.answer(form, "", b"")

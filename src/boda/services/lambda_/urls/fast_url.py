"""The fast path of function URLs: a plain request to a URL without authentication.

Law of this file: its answers equal those of ``FunctionUrls.handle``, which gets every request that
is to be refused.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from boda.core.errors import AwsError
from boda.core.payloads import READ_AT_ONCE_BYTES
from boda.events.http import payload_2
from boda.events.http.messages import HttpAnswer
from boda.gateway.asking.authorization import Permit
from boda.gateway.asking.need import Need
from boda.gateway.calling.fast_handler import REQUEST_ID, AnswerForm, Reply
from boda.gateway.http.wire import WireResponse
from boda.invoke.call import Call, Outcome
from boda.runtime import trace
from boda.services.lambda_ import condition_keys
from boda.services.lambda_.access import StandingNeed, need
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.invoking.fast_invoke import CallDispatcher
from boda.telemetry.contract import MeteredUrlRequest

REQUEST_ID_HEADER = "x-amzn-RequestId"
_MOST_FORMS = 32
_LONGEST_HEAD = 512


class FastUrl:
    """One head that came more than once.

    config: of the URL, as it was then. present: returns what it is now, None if it was deleted.
    form: the events that such a head makes.
    """

    def __init__(
        self,
        core: LambdaCore,
        invoker: CallDispatcher,
        permit: Permit,
        identifier: Identifier,
        config: Mapping[str, Any],
        present: Callable[[], Mapping[str, Any] | None],
        form: payload_2.EventForm,
    ) -> None:
        self._core = core
        self._invoker = invoker
        self._permit = permit
        self._identifier = identifier
        self._arn = identifier.arn
        self._named_arn = identifier.named_arn
        self._qualifier = identifier.meant
        self._config = config
        self._present = present
        self._form = form
        calling = partial(url_need, core, identifier, config["AuthType"])
        self._standing = StandingNeed(core, identifier, calling).current
        self._forms: dict[tuple[Any, ...], AnswerForm] = {}

    def need(self) -> None:
        return None

    def handle(
        self, request_id: str, headers: Mapping[str, str], body: bytes, reply: Reply
    ) -> bool:
        core = self._core
        if self._present() is not self._config or not self._permit.holds(self._standing()):
            return False
        version = core.hot.resolve(self._arn, self._qualifier)
        if version is None:
            return False
        now = core.clock.now()
        run_under, hops = trace.next_hop(
            headers.get(trace.HEADER, ""), self._arn, now, core.ids.hex
        )
        if hops >= trace.MAX_HOPS and version.recursive_loop == "Terminate":
            return False
        event = self._form.fill(body, request_id, run_under, now)
        limit = core.quotas.sync_payload_bytes
        if event is None or len(event) > limit or len(body) > limit:
            return False
        self._invoker.dispatch(
            Call(version, event, request_id, self._named_arn, trace_id=run_under),
            partial(self._ended, reply, request_id, now),
        )
        return True

    def _ended(
        self,
        reply: Reply,
        request_id: str,
        at: float,
        outcome: Outcome | None,
        error: BaseException | None,
    ) -> None:
        if outcome is None:
            if not isinstance(error, AwsError):
                reply.fail(error or RuntimeError("no outcome"))
                return
            response: HttpAnswer | WireResponse = refusal_of(error)
        elif outcome.function_error:
            response = internal()
        elif len(outcome.payload) > READ_AT_ONCE_BYTES:
            loop = asyncio.get_running_loop()
            reading = loop.run_in_executor(None, payload_2.answer, outcome.payload)
            reading.add_done_callback(partial(self._read, reply, request_id, at))
            return
        else:
            response = payload_2.answer(outcome.payload) or internal()
        self._answer(reply, request_id, at, response)

    def _read(
        self,
        reply: Reply,
        request_id: str,
        at: float,
        reading: asyncio.Future[HttpAnswer | None],
    ) -> None:
        """Called when a thread has read a large answer of the function."""
        error = None if reading.cancelled() else reading.exception()
        if error is not None or reading.cancelled():
            reply.fail(error or RuntimeError("the platform stops"))
            return
        self._answer(reply, request_id, at, reading.result() or internal())

    def _answer(
        self, reply: Reply, request_id: str, at: float, response: HttpAnswer | WireResponse
    ) -> None:
        tell(self._core, self._identifier, at, response.status)
        form = self._forms.get((response.status, *response.headers))
        if form is None:
            form = self._learn_form(response, reply)
        if form is not None:
            assert isinstance(response.body, bytes)
            reply.answer(form, "", response.body)
        else:
            headers = [*response.headers, (REQUEST_ID_HEADER, request_id)]
            reply.respond(WireResponse(response.status, headers, response.body))

    def _learn_form(self, response: HttpAnswer | WireResponse, reply: Reply) -> AnswerForm | None:
        """Return and cache the form of such answers; None if they have none or their head is too
        long."""
        headers = response.headers
        if sum(len(name) + len(value) for name, value in headers) > _LONGEST_HEAD:
            return None
        headed = WireResponse(response.status, [*headers, (REQUEST_ID_HEADER, REQUEST_ID)])
        try:
            form = reply.form(headed)
        except ValueError:
            return None
        if len(self._forms) >= _MOST_FORMS:
            self._forms.clear()
        self._forms[response.status, *headers] = form
        return form


def tell(core: LambdaCore, identifier: Identifier, at: float, status: int) -> None:
    """Count a request that came at a time and is answered now."""
    core.answered(
        MeteredUrlRequest(
            identifier.account,
            identifier.region,
            identifier.name,
            identifier.qualifier or "",
            at,
            status,
            max(0.0, core.clock.now() - at) * 1000.0,
        )
    )


def url_need(core: LambdaCore, identifier: Identifier, auth_type: str) -> Need:
    """Return the permission to call a function's URL: both actions, for URLs of any age.

    Source: Lambda developer guide, "urls-auth".
    """
    keys = {
        **condition_keys.of_url(identifier, auth_type),
        "lambda:InvokedViaFunctionUrl": "true",
    }
    first = need(core, "lambda:InvokeFunctionUrl", identifier, keys)
    return replace(first, also="lambda:InvokeFunction")


def internal() -> WireResponse:
    return WireResponse(502, [("Content-Type", "application/json")], b"Internal Server Error")


def refusal_of(error: AwsError) -> WireResponse:
    body = json.dumps({"Message": error.message or None}, separators=(",", ":")).encode()
    headers = [("Content-Type", "application/json"), ("x-amzn-ErrorType", error.code)]
    return WireResponse(error.status, [*headers, *error.headers.items()], body)

"""Invoke and its variants: from a request to the invoke path.

Law of this file: a synchronous call touches memory only. The version comes from the table of the
invoke path itself; no rows are read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import orjson

from boda.core import payloads
from boda.gateway.asking.need import Need
from boda.gateway.calling.fast_handler import fast_path
from boda.gateway.calling.operation import Answer, Context, operation
from boda.gateway.http.wire import StreamingBody
from boda.invoke.call import Call, Done, Outcome
from boda.invoke.streaming import open_stream
from boda.invoke.tenancy import wrong_tenancy
from boda.runtime import trace
from boda.runtime.function import FunctionVersion
from boda.sandbox.architectures import foreign, runs_here
from boda.services.lambda_.access import need
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.errors import (
    bad_content,
    cannot_run,
    not_found,
    recursive,
    snapshot_not_ready,
    too_large,
    wrong_state,
)
from boda.services.lambda_.identifiers import Identifier, parse
from boda.services.lambda_.invoking.fast_event_invoke import EventAcceptor, FastEventInvoke
from boda.services.lambda_.invoking.fast_invoke import FastInvoke, answer_of
from boda.services.lambda_.invoking.streaming import streamed_events
from boda.services.lambda_.settings.runtimes import absent_here

_REMEMBERED = 4096


class CallInvoker(Protocol):
    """The invoke path."""

    async def invoke(self, call: Call) -> Outcome: ...

    def dispatch(self, call: Call, done: Done) -> None: ...


class AsyncEvents(EventAcceptor, Protocol):
    """The durable queue of asynchronous events."""

    async def enqueue(
        self,
        version: FunctionVersion,
        payload: bytes,
        *,
        request_id: str,
        qualifier: str,
        invoked_arn: str,
        trace_id: str,
        tenant: str,
    ) -> None:
        """Return once the event is durable."""


class InvocationOperations:
    def __init__(self, core: LambdaCore, invoker: CallInvoker, queue: AsyncEvents) -> None:
        self.core = core
        self._invoker = invoker
        self._queue = queue
        self._names: dict[tuple[str, str | None, str, str], Identifier] = {}

    def _needs(self, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        identifier = self._identify(ctx, params["FunctionName"], params.get("Qualifier"))
        return (need(self.core, "lambda:InvokeFunction", identifier),)

    @operation("Invoke", authorize=_needs)
    async def invoke(
        self,
        ctx: Context,
        *,
        function_name: str,
        invocation_type: str = "RequestResponse",
        log_type: str = "None",
        client_context: str | None = None,
        payload: bytes = b"",
        qualifier: str | None = None,
        tenant_id: str = "",
    ) -> Answer:
        identifier = self._identify(ctx, function_name, qualifier)
        version = self._version(identifier, tenant_id)
        content = await self._payload(payload, invocation_type)
        context = self._client_context(client_context)
        if invocation_type == "DryRun":
            return Answer({}, 204)  # nothing is executed, so no executed version either
        if not version.runtime or version.file_systems:
            raise cannot_run(version)
        if invocation_type == "Event":
            return await self._post(ctx, identifier, version, content, tenant_id)
        tail = log_type == "Tail"
        call = self._call(ctx, identifier, version, content, context, tenant_id, tail)
        outcome = await self._invoker.invoke(call)
        return answer_of(outcome, call.trace_id, tail)

    @fast_path("Invoke")
    def invoke_fast(
        self,
        account: str,
        region: str,
        *,
        function_name: str,
        invocation_type: str = "RequestResponse",
        log_type: str = "None",
        client_context: str | None = None,
        qualifier: str | None = None,
        tenant_id: str = "",
    ) -> FastInvoke | FastEventInvoke | None:
        """Return the handler of events, and of synchronous calls without further options."""
        if log_type != "None" or client_context is not None or tenant_id:
            return None
        if invocation_type not in ("RequestResponse", "Event"):
            return None
        identifier = self._named(function_name, qualifier, account, region)
        if invocation_type == "Event":
            return FastEventInvoke(self.core, self._queue, identifier)
        return FastInvoke(self.core, self._invoker, self.core.runnable, identifier)

    @operation("InvokeWithResponseStream", authorize=_needs)
    async def invoke_with_response_stream(
        self,
        ctx: Context,
        *,
        function_name: str,
        invocation_type: str = "RequestResponse",
        log_type: str = "None",
        client_context: str | None = None,
        payload: bytes = b"",
        qualifier: str | None = None,
        tenant_id: str = "",
    ) -> Answer:
        """Invoke, and answer while the function still writes its answer."""
        identifier = self._identify(ctx, function_name, qualifier)
        version = self._version(identifier, tenant_id)
        content = await self._payload(payload, invocation_type, "InvokeWithResponseStream")
        context = self._client_context(client_context)
        if invocation_type == "DryRun":
            return Answer({}, 204)  # nothing is executed, so no executed version either
        if not version.runtime or version.file_systems:
            raise cannot_run(version)
        tail = log_type == "Tail"
        call = self._call(ctx, identifier, version, content, context, tenant_id, tail)
        answer = await open_stream(self._invoker, call, self.core.clock)
        output = {
            "ExecutedVersion": version.version,
            "ResponseStreamContentType": answer.content_type or "application/octet-stream",
            "EventStream": streamed_events(answer, tail),
        }
        return Answer(output, headers={"X-Amzn-Trace-Id": call.trace_id})

    def _call(
        self,
        ctx: Context,
        identifier: Identifier,
        version: FunctionVersion,
        content: bytes,
        client_context: str,
        tenant: str,
        tail: bool,
    ) -> Call:
        """Return a synchronous call. Raises AwsError if it cannot run, or is part of an endless
        loop."""
        if not runs_here(version.runtime, version.architecture):
            raise foreign(version.runtime, version.architecture)
        if not self.core.runnable(version.runtime):
            raise absent_here(version.runtime)
        run_under, hops = trace.next_hop(
            ctx.headers.get(trace.HEADER, ""),
            identifier.arn,
            self.core.clock.now(),
            self.core.ids.hex,
        )
        if hops >= trace.MAX_HOPS and version.recursive_loop == "Terminate":
            raise recursive(version.arn, hops)
        return Call(
            version,
            content,
            ctx.request_id,
            identifier.named_arn,
            client_context=client_context,
            trace_id=run_under,
            tenant=tenant,
            tail=tail,
        )

    @operation("InvokeAsync", authorize=_needs)
    async def invoke_async(
        self, ctx: Context, *, function_name: str, invoke_args: StreamingBody
    ) -> dict[str, Any]:
        """Accept an event: the old form of Invoke with the type ``Event``."""
        identifier = self._identify(ctx, function_name, None)
        version = self._version(identifier, "")
        limit = self.core.quotas.async_payload_bytes
        content = await self._payload(await invoke_args.read(limit + 1), "Event")
        await self._post(ctx, identifier, version, content, "")
        return {"Status": 202}

    async def _post(
        self,
        ctx: Context,
        identifier: Identifier,
        version: FunctionVersion,
        content: bytes,
        tenant: str,
    ) -> Answer:
        """Accept an event: answered once it is on disk. It has no client context."""
        await self._queue.enqueue(
            version,
            content,
            request_id=ctx.request_id,
            qualifier=identifier.meant,
            invoked_arn=identifier.named_arn,
            trace_id=ctx.headers.get(trace.HEADER, ""),
            tenant=tenant,
        )
        return Answer(status=202)

    def _identify(self, ctx: Context, text: str, qualifier: str | None) -> Identifier:
        return self._named(text, qualifier, ctx.account, ctx.region)

    def _named(self, text: str, qualifier: str | None, account: str, region: str) -> Identifier:
        """Parse a function's name, cached, since the same few names come repeatedly."""
        key = (text, qualifier, account, region)
        known = self._names.get(key)
        if known is None:
            known = parse(text, qualifier, account, region)
            if len(self._names) >= _REMEMBERED:
                self._names.clear()
            self._names[key] = known
        return known

    def _version(self, identifier: Identifier, tenant: str) -> FunctionVersion:
        """Return the named version, ready to be called for that tenant. Raises AwsError."""
        hot = self.core.hot
        number = hot.choose(identifier.arn, identifier.meant)
        version = hot.resolve(identifier.arn, number)
        if version is not None:
            if version.tenant_isolation != bool(tenant):
                raise wrong_tenancy(version.tenant_isolation)
            return version
        function = self.core.find(identifier.key)
        there = function.versions.get(number) if function is not None else None
        if there is None:  # recorded: named with the qualifier, even if the caller gave none
            raise not_found(f"{identifier.arn}:{identifier.meant}")
        if there.settings.snap_start != "None" and there.state.state == "Pending":
            raise snapshot_not_ready()
        raise wrong_state(there.state.state)

    async def _payload(
        self, payload: bytes, invocation_type: str, operation: str = "InvokeFunction"
    ) -> bytes:
        """Return the event, validated; an empty payload is an empty object. Raises AwsError."""
        quotas = self.core.quotas
        size = len(payload)
        if invocation_type == "Event" and size > quotas.async_payload_bytes:
            raise too_large(
                f"{size} byte payload is too large for the Event invocation type (limit "
                f"{quotas.async_payload_bytes} bytes)"
            )
        if size > quotas.sync_payload_bytes:
            raise too_large(
                f"Request must be smaller than {quotas.sync_payload_bytes} bytes for the "
                f"{operation} operation"
            )
        if not payload:
            return b"{}"
        try:
            await payloads.check(payload)
        except ValueError as error:
            raise bad_content(
                "Could not parse request body into json: Could not parse payload into json: "
                f"{error}"
            ) from None
        return payload

    def _client_context(self, encoded: str | None) -> str:
        """Return the decoded JSON text; empty if none was sent. Raises AwsError."""
        if not encoded:
            return ""
        words = "Client context must be a valid Base64-encoded JSON object."
        if len(encoded) > self.core.quotas.client_context_bytes:
            raise bad_content(
                f"Client context must be no more than {self.core.quotas.client_context_bytes} "
                "bytes of base64-encoded data."
            )
        try:
            text = base64.b64decode(encoded, validate=True).decode()
            if not isinstance(orjson.loads(text), dict):
                raise bad_content(words)
        except (binascii.Error, ValueError):
            raise bad_content(words) from None
        return text

"""Function URLs: a site of the gateway that invokes functions for plain HTTP requests.

Permission is checked for each request: by the resource policy alone if the URL has no
authentication, by policies on both sides if it has. Source: Lambda developer guide, "urls-auth".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import orjson

from boda.core.errors import AwsError
from boda.core.long_work import beside
from boda.core.payloads import READ_AT_ONCE_BYTES
from boda.core.principal import ANONYMOUS, Principal
from boda.events.http import payload_2
from boda.gateway.asking.authorization import Permit
from boda.gateway.asking.callers import OpenCallers
from boda.gateway.asking.need import Need
from boda.gateway.calling.exchange import RequestKeys
from boda.gateway.calling.payload import sha256_of
from boda.gateway.http.wire import WireRequest, WireResponse
from boda.gateway.signing.authentication import Authenticator
from boda.gateway.signing.claim import MalformedClaim, read_claim
from boda.invoke.call import Call
from boda.invoke.function_table import LATEST
from boda.invoke.streaming import open_stream
from boda.runtime import trace
from boda.runtime.function import FunctionVersion
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.dialect import DIALECT
from boda.services.lambda_.errors import recursive
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.invoking.operations import CallInvoker
from boda.services.lambda_.urls import messages as url_messages
from boda.services.lambda_.urls import stream as url_stream
from boda.services.lambda_.urls.configs import KIND, PATH, UrlIds
from boda.services.lambda_.urls.fast_url import (
    REQUEST_ID_HEADER,
    FastUrl,
    internal,
    refusal_of,
    tell,
    url_need,
)

_HOST = re.compile(r"([a-z0-9]{32})\.lambda-url\.([a-z0-9-]+)\.[a-z0-9._-]+(?::\d+)?", re.I)
_PATH = re.compile(PATH + r"([a-z0-9]{32})(?=/|$)")
_FORBIDDEN = (
    "Forbidden. For troubleshooting Function URL authorization issues, see: "
    "https://docs.aws.amazon.com/lambda/latest/dg/urls-auth.html"
)
_RULES = DIALECT.signatures
Keys = Mapping[str, Any]


class UrlAuthorizer(Protocol):
    """The authoriser."""

    def allows(self, principal: Principal, need: Need, keys: Keys) -> bool: ...

    def permit(self, principal: Principal) -> Permit: ...


class FunctionUrls:
    """callers: verifies signatures, or trusts callers' claims. labelled: whether a host name stands
    for the first segment of another service's paths."""

    def __init__(
        self,
        core: LambdaCore,
        ids: UrlIds,
        invoker: CallInvoker,
        callers: Authenticator | OpenCallers,
        authorizer: UrlAuthorizer,
        labelled: Callable[[str], bool],
    ) -> None:
        self._labelled = labelled
        self._core = core
        self._ids = ids
        self._invoker = invoker
        self._callers = callers
        self._authorizer = authorizer

    def matches(self, request: WireRequest) -> bool:
        if ".lambda-url." in request.host.lower() and _HOST.fullmatch(request.host) is not None:
            return True
        return request.path.startswith(PATH) and not self._labelled(request.host)

    async def handle(self, request: WireRequest) -> WireResponse:
        request_id, at = self._core.ids.uuid(), self._core.clock.now()
        identifier, preflight = None, False
        cors: Mapping[str, Any] = {}
        try:
            identifier, config = self._find(request)
            cors = config.get("Cors") or {}
            preflight = bool(cors) and request.method == "OPTIONS" and _preflight(request)
            if preflight:
                response = WireResponse(200)
            else:
                response = await self._answer(request, identifier, config, request_id)
        except AwsError as error:
            response = refusal_of(error)
        # Beside those that the function gave, if any.
        response.headers += url_messages.cross_origin(request, cors, preflight=preflight)
        response.headers.append((REQUEST_ID_HEADER, request_id))
        if identifier is not None:
            tell(self._core, identifier, at, response.status)
        return response

    def fast_handler(self, request: WireRequest) -> FastUrl | None:
        """Return a handler for URLs without authentication that answer browsers of their own origin
        only, and answer when the function has."""
        try:
            identifier, config = self._find(request)
        except AwsError:
            return None
        if config["AuthType"] != "NONE" or config.get("Cors"):
            return None
        if config.get("InvokeMode") == "RESPONSE_STREAM":
            return None
        try:
            form = payload_2.EventForm(
                url_messages.received(_as_called(request)),
                url_messages.route(config["UrlId"], None),
            )
        except ValueError:
            return None
        return FastUrl(
            self._core,
            self._invoker,
            self._authorizer.permit(ANONYMOUS),
            identifier,
            config,
            partial(self._present, config["UrlId"]),
            form,
        )

    def _present(self, url_id: str) -> Mapping[str, Any] | None:
        """Return the config of a URL as it is now."""
        place = self._ids.find(url_id)
        function = self._core.find(place.key) if place is not None else None
        if place is None or function is None:
            return None
        return function.attached.get(KIND, {}).get(place.qualifier)

    async def _answer(
        self,
        request: WireRequest,
        identifier: Identifier,
        config: Mapping[str, Any],
        request_id: str,
    ) -> WireResponse:
        caller = await self._admit(request, identifier, config)
        body = await self._body(request)
        return await self._invoke(request, body, identifier, config, caller, request_id)

    async def _body(self, request: WireRequest) -> bytes:
        """Read the body, once, after the permission was checked."""
        body = request.body
        if isinstance(body, bytes):
            return body
        limit = self._core.quotas.sync_payload_bytes
        if body.length is not None and body.length > limit:
            raise _too_large()
        try:
            request.body = data = await body.read(limit)
        except AwsError as error:
            raise (_too_large() if error.status == 413 else error) from None
        return data

    def _find(self, request: WireRequest) -> tuple[Identifier, Mapping[str, Any]]:
        named = _HOST.fullmatch(request.host)
        found = named or _PATH.match(request.path)
        place = self._ids.find(found[1].lower()) if found is not None else None
        function = self._core.find(place.key) if place is not None else None
        if place is None or function is None:
            raise AwsError("AccessDeniedException", "", 403)
        if named is not None and function.region != named[2].lower():
            raise AwsError("AccessDeniedException", "", 403)
        config = function.attached[KIND][place.qualifier]
        qualifier = None if place.qualifier == LATEST else place.qualifier
        return Identifier(*place.key, qualifier), config

    async def _admit(
        self,
        request: WireRequest,
        identifier: Identifier,
        config: Mapping[str, Any],
    ) -> Principal | None:
        """Return the caller, None if the URL has no authentication. Raises AwsError (403)."""
        kind = config["AuthType"]
        caller = None
        if kind == "AWS_IAM":
            caller = await self._signer(request, identifier, config.get("Cors") or {})
        need = url_need(self._core, identifier, kind)
        keys = RequestKeys(request, identifier.region)
        if not self._authorizer.allows(caller or ANONYMOUS, need, keys):
            raise AwsError("AccessDeniedException", _FORBIDDEN, 403)
        return caller

    async def _signer(
        self, request: WireRequest, identifier: Identifier, cors: Mapping[str, Any]
    ) -> Principal:
        callers = self._callers
        if isinstance(callers, OpenCallers):
            if not url_messages.cross_origin(request, cors, preflight=False):
                callers.refuse_pages(request)
            return callers.principal(request)
        try:
            claim = read_claim(request)
        except MalformedClaim as problem:
            raise problem.error(_RULES) from None
        if claim is None:
            raise AwsError("AccessDeniedException", _FORBIDDEN, 403)
        signatory = claim.signatory
        if (signatory.service, signatory.region) != ("lambda", identifier.region):
            raise _RULES.refusal(
                "scope", "Credential should be scoped to correct service: 'lambda'."
            )
        credential = callers.credential(claim, request, _RULES)
        digest = await sha256_of(await self._body(request))
        callers.verify(claim, credential, request, digest, _RULES)
        return credential.principal

    async def _invoke(
        self,
        request: WireRequest,
        body: bytes,
        identifier: Identifier,
        config: Mapping[str, Any],
        caller: Principal | None,
        request_id: str,
    ) -> WireResponse:
        version = self._core.hot.resolve(identifier.arn, identifier.meant)
        if version is None:
            return internal()
        now = self._core.clock.now()
        run_under, hops = trace.next_hop(
            request.headers.get(trace.HEADER, ""), identifier.arn, now, self._core.ids.hex
        )
        self._refuse_loop(version, hops)
        event = payload_2.event(
            url_messages.received(_as_called(request), body),
            url_messages.route(config["UrlId"], caller),
            request_id=request_id,
            trace_id=run_under,
            now_s=now,
        )
        payload = orjson.dumps(event)
        if len(payload) > self._core.quotas.sync_payload_bytes:
            raise _too_large()
        call = Call(version, payload, request_id, identifier.named_arn, trace_id=run_under)
        if config.get("InvokeMode") == "RESPONSE_STREAM":
            answer = await open_stream(self._invoker, call, self._core.clock)
            return await url_stream.response(answer) or internal()
        outcome = await self._invoker.invoke(call)
        if outcome.function_error:
            return internal()
        payload = outcome.payload
        if len(payload) > READ_AT_ONCE_BYTES:
            made = await beside(payload_2.answer, payload)
        else:
            made = payload_2.answer(payload)
        return WireResponse(*made) if made is not None else internal()

    def _refuse_loop(self, version: FunctionVersion, hops: int) -> None:
        if hops >= trace.MAX_HOPS and version.recursive_loop == "Terminate":
            raise recursive(version.arn, hops)


def _as_called(request: WireRequest) -> WireRequest:
    """Return the request as it would be under the URL's own host name, without the path form's
    prefix."""
    if _HOST.fullmatch(request.host) is not None:
        return request
    found = _PATH.match(request.path)
    return request if found is None else replace(request, path=request.path[found.end() :] or "/")


def _too_large() -> AwsError:
    """Return the error for a body, or the event made of it, that is too large."""
    return AwsError("RequestEntityTooLargeException", "Request is too large.", 413)


def _preflight(request: WireRequest) -> bool:
    return "origin" in request.headers and "access-control-request-method" in request.headers

"""HTTP to an AWS operation call and back.

The way of a request is the list in ``Gateway.answer``: route, authenticate, authorise the
permissions its head names, read its body, parse, validate, authorise the rest, run, serialise.
(fast_path.py has a shorter one for requests like those that succeeded here before.) An AwsError at
any step goes on the wire in the caller's protocol; any other exception is the platform's fault and
is logged once with the request's id, which is all that the caller sees.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Protocol
from urllib.parse import quote

import orjson

from boda.core.arn import DEFAULT_ACCOUNT, DEFAULT_REGION
from boda.core.clock import Clock
from boda.core.condition_keys import Vocabulary
from boda.core.errors import AwsError, not_implemented, printable
from boda.core.ids import Ids
from boda.core.policy_principals import Names
from boda.core.principal import ANONYMOUS, Principal
from boda.core.regions import Regions
from boda.core.urls import PublicUrl
from boda.gateway.asking.authorization import Authorizer
from boda.gateway.asking.callers import OpenCallers, foreign_page
from boda.gateway.asking.need import Need
from boda.gateway.asking.policies import PolicyRules
from boda.gateway.calling.absent import NONE_LACKING, Absent, AbsentServices
from boda.gateway.calling.bodies import BytesBody
from boda.gateway.calling.exchange import Exchange, RequestKeys
from boda.gateway.calling.head import Head, HeadReader
from boda.gateway.calling.installed_service import InstalledService, OfferedOperation, offers_of
from boda.gateway.calling.models import Models
from boda.gateway.calling.operation import Answer, Context
from boda.gateway.calling.pager import Seal
from boda.gateway.calling.parameters import HeadParameters, ParameterInBody, Parsing, parse_head
from boda.gateway.calling.payload import Payloads, declared, received, sha256_of
from boda.gateway.calling.refusal_log import RefusalLog
from boda.gateway.calling.refusals import Refusals
from boda.gateway.calling.routing import Router
from boda.gateway.calling.service import Service
from boda.gateway.fast_path import GatewayFastPath
from boda.gateway.http.asgi import read_request, send_response
from boda.gateway.http.body import Inbound
from boda.gateway.http.hosts import Hosts
from boda.gateway.http.intake import Intake
from boda.gateway.http.limits import BodyRule, Limits
from boda.gateway.http.traffic import Traffic
from boda.gateway.http.wire import WireRequest, WireResponse
from boda.gateway.signing.admission import place_flaw
from boda.gateway.signing.authentication import Authenticator
from boda.gateway.signing.identity import Directory

log = logging.getLogger("boda.gateway")

HEALTH = "/_boda/health"
_HEALTH_ELSEWHERE = "/_localstack/health"
"""The path at which tools written for another local endpoint look for it."""
OWN_PATHS = (HEALTH, _HEALTH_ELSEWHERE)
_FORM = "multipart/form-data"
_UNSIGNED_BODY = BodyRule(256 * 1024, "RequestEntityTooLarge", "The request body is too large.")


class Site(Protocol):
    """Host names or paths answered by something else than AWS operations (function URLs …).

    A site with a method ``fast_handler(request) -> FastHandler | None`` has a fast path, too
    (fast_path.py).
    """

    def matches(self, request: WireRequest) -> bool:
        """Return whether the request is for the site, by host and path alone."""
        ...

    async def handle(self, request: WireRequest) -> WireResponse:
        """Answer a request. Its body is a StreamingBody, unread. Sites verify signatures
        themselves."""
        ...


class Gateway:
    """An ASGI application over the installed services.

    auth: ``sigv4`` checks every signature; ``open`` trusts callers' claims.
    account: of callers who claim none. hosts: the platform's host names.
    public_url: the beginning of URLs in answers, instead of the URL that each caller used.
    health: further members of ``GET /_boda/health``, or another ``status`` than ``ok``.
    sites: asked in order for requests to host names of their own.
    regions: those that requests may be signed for; AWS's by default.
    lacking: facts about services that are not installed, by signing name.
    secret: seals the tokens of pages; without it they are valid as long as this gateway lives.
    """

    def __init__(
        self,
        services: Sequence[Service],
        models: Models,
        directory: Directory,
        authorizer: Authorizer,
        clock: Clock,
        ids: Ids,
        *,
        auth: Literal["sigv4", "open"],
        health: Callable[[], dict[str, Any]],
        sites: Sequence[Site] = (),
        limits: Limits | None = None,
        regions: Regions | None = None,
        account: str = DEFAULT_ACCOUNT,
        hosts: Hosts | None = None,
        public_url: PublicUrl | None = None,
        lacking: Mapping[str, Absent] = NONE_LACKING,
        secret: bytes = b"",
    ) -> None:
        self.limits = limits or Limits()
        self._account = account
        self._hosts = hosts or Hosts()
        self._public = public_url
        seal = Seal(secret or ids.bytes(32), clock)
        self._installed = {
            one.name: InstalledService(one, models, self.limits, seal) for one in services
        }
        self._router = Router(offers_of(self._installed.values()), lacking)
        self._heads = HeadReader(
            self._router,
            self._installed,
            self._hosts,
            regions or Regions(),
            checked=auth != "open",
        )
        self._absent = AbsentServices(lacking)
        self._authenticator = Authenticator(directory, clock)
        self._authorizer = authorizer
        self._clock = clock
        self._policies = PolicyRules(
            Vocabulary({one.name: one.condition_keys for one in services}),
            directory if isinstance(directory, Names) else None,
        )
        self._ids = ids
        self._open = OpenCallers(directory, account, self._hosts) if auth == "open" else None
        self._health = health
        self._sites = tuple(sites)
        self._payloads = Payloads(self.limits, checked=auth != "open")
        self._journal = RefusalLog(clock.monotonic)
        self._refusals = Refusals(ids, self._journal)
        self._traffic = Traffic()
        self._intake = Intake(self.limits)
        self._parsing = Parsing(self.limits)
        self.fast_path = GatewayFastPath(
            directory,
            clock,
            ids,
            authenticator=self._authenticator,
            authorizer=authorizer,
            heads=self._heads,
            payloads=self._payloads,
            refusals=self._refusals,
            traffic=self._traffic,
            intake=self._intake,
            limits=self.limits,
            hosts=self._hosts,
            sites=self._sites,
            own_paths=OWN_PATHS,
            serve=self.serve,
            made=self._made,
            request_id=self._request_id,
            checked=self._open is None,
        )

    # The ASGI application

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        self._traffic.begin()
        try:
            request, inbound = read_request(scope, receive, self._intake)
            response = await self.answer(request, inbound)
            await send_response(request, inbound, response, receive, send)
        finally:
            self._traffic.end()

    async def answer(self, request: WireRequest, inbound: Inbound) -> WireResponse:
        """Answer one request; never raises but for cancellation."""
        x = Exchange(request, inbound)
        try:
            if self._hosts.ours(request.host):
                response = await self._answer_beside(x)
                if response is not None:
                    return response
            head = self._read_head(x)
            if head.against is None:
                response = await self._preflight(x)
                if response is not None:
                    return response
            await self._authenticate(x, head)
        except Exception as error:
            return await self._decorated(x, self._refusals.of(x, error))
        return await self.serve(x)

    async def serve(self, x: Exchange) -> WireResponse:
        """Answer a request whose caller is known: the rest of the way. Never raises but for
        cancellation."""
        try:
            response = await self._perform(x)
        except Exception as error:
            response = self._refusals.of(x, error)
        return await self._decorated(x, response)

    async def _perform(self, x: Exchange) -> WireResponse:
        offered = await self._resolve(x)
        ctx = self._context(x)
        head = parse_head(x)
        settled = await self._authorise_head(x, offered, ctx, head)
        await self._payloads.receive(x)
        params = await self._parsing.parse(x, head)
        if not settled:
            await self._authorise(offered, ctx, params)
        if x.known_head is not None and offered.fast_path is not None:
            self.fast_path.learn(x, params)
        output = await self._run(offered, ctx, params)
        return self._serialise(x, offered, output)

    # The steps

    async def _answer_beside(self, x: Exchange) -> WireResponse | None:
        """Return the answer of a site or of the platform itself; None for an operation's
        request."""
        request = x.request
        for site in self._sites:
            if site.matches(request):
                if self._traffic.draining and not request.environment_id:
                    return WireResponse(503, [("Retry-After", "1"), ("Connection", "close")])
                request.body = self._payloads.whole(x.inbound)
                response = await site.handle(request)
                self._journal.note_site(request, response)
                return response
        if request.path not in OWN_PATHS:
            return None
        page = self._page(x)
        if page:
            raise foreign_page(page)
        return self._answer_health(request)

    def _read_head(self, x: Exchange) -> Head:
        request = x.request
        if request.query.count("&") >= self.limits.query_parameters:
            raise AwsError(
                "RequestHeaderSectionTooLarge",
                "Your request header and the query parameters used to make the request exceed "
                "the maximum allowed size.",
                400,
            )
        head = self._heads.read(request)
        x.understand(head)
        x.request_id = self._request_id(x)
        if self._traffic.draining and not request.environment_id:
            raise self._refusals.stopping(x)
        return head

    def _request_id(self, x: Exchange) -> str:
        return self._ids.hex(16).upper() if x.dialect.hex_request_ids else self._ids.uuid()

    async def _preflight(self, x: Exchange) -> WireResponse | None:
        if x.request.method != "OPTIONS" or x.installed is None:
            return None
        answer = x.installed.service.preflight
        if answer is None:
            return None
        return await answer(x.request, x.route.decoded())

    def _page(self, x: Exchange) -> str:
        """Return the origin of another site's page that makes a browser send an unsigned request.

        "" if there is none, or if it does no harm: a signature that will be verified proves the
        owner's intent, and without one only a service for anonymous callers gives data away. Its
        own rules may admit a page; and as on AWS a page may show public data, since it cannot read
        the answer.
        """
        request = x.request
        asks_nobody = x.dialect.signatures.anonymous or request.path in OWN_PATHS
        if self._open is None and (x.claim is not None or not asks_nobody):
            return ""
        origin = self._hosts.foreign(request)
        if origin and x.installed is not None and x.dialect.signatures.anonymous:
            reads = request.method in ("GET", "HEAD")
            if reads and (self._open is None or "origin" not in request.headers):
                return ""
            admits = x.installed.service.admits
            if admits is not None and admits(request, x.route.decoded()):
                return ""
        return origin[:256]

    async def _authenticate(self, x: Exchange, head: Head) -> None:
        against = head.against or place_flaw("", "", self._page(x))
        claim = x.claim
        if self._open is not None or claim is None:
            if against is None and self._open is None:
                against = head.problem
            if against is not None:
                raise against.error(x.dialect.signatures)
            if self._open is None:
                await self._admit_anonymous(x)
                return
            x.principal = self._open.principal(x.signed)
            self._payloads.take(x, None)
            return
        authenticator, rules = self._authenticator, x.dialect.signatures
        credential = authenticator.credential(claim, x.signed, rules, against)
        if claim.signatory.until:
            label = x.dialect.addressing.label
            first = label(x.request.host) if label is not None else ""
            resource = f"/{quote(first)}{x.request.path}" if first else x.request.path
            authenticator.verify_old(claim, credential, x.request, resource, rules)
            self._payloads.take(x, None)
            x.principal = credential.principal
            return
        payload = declared(x, claim)
        if payload is not None:
            chain = authenticator.verify(claim, credential, x.signed, payload, rules)
            self._payloads.take(x, chain)
        else:
            self._payloads.take(x, None)
            await self._payloads.receive(x)
            payload = await sha256_of(received(x))
            authenticator.verify(claim, credential, x.signed, payload, rules)
        x.credential, x.principal = credential, credential.principal

    async def _admit_anonymous(self, x: Exchange) -> None:
        """Admit an unsigned request to services that decide by policies, and to a few unsigned
        operations."""
        if x.dialect.signatures.anonymous:
            self._payloads.take(x, None)
            return
        in_body = x.route.action_in_body
        if in_body:
            x.request.body = await x.inbound.read(
                _UNSIGNED_BODY.limit, lambda _size: _UNSIGNED_BODY.error()
            )
            self._name_action(x)
        if x.offered is None or not x.offered.anybody:
            raise x.dialect.signatures.refusal("missing")
        if not in_body:
            self._payloads.take(x, None)

    async def _resolve(self, x: Exchange) -> OfferedOperation:
        """Return the operation, now that a query's body is there. Raises AwsError if boda lacks
        it."""
        route = x.route
        if route.action_in_body:
            await self._payloads.receive(x)
            self._name_action(x)
        if x.offered is not None:
            if x.offered.operation is None:
                raise not_implemented(x.offered.service, x.offered.name)
            return x.offered
        if route.absent:
            request = x.request
            operation = route.operation or await self._named_elsewhere(x, route.absent)
            name = self._absent.name(route.absent)
            raise not_implemented(name, printable(operation or f"{request.method} {request.path}"))
        if route.service and not route.operation and not x.dialect.addressing.otherwise:
            # Several models may share a signing name: another may know it.
            operation = await self._named_elsewhere(x, route.service)
            if operation:
                raise not_implemented(route.service, operation)
        form = x.dialect.addressing.form
        if form and x.request.headers.get("content-type", "").startswith(_FORM):
            raise not_implemented(route.service, form, "uploads from a browser's form")
        raise x.dialect.unknown(route.operation, x.request.method, x.request.path)

    async def _named_elsewhere(self, x: Exchange, signing_name: str) -> str:
        """Return the REST operation's name in a model of a service that boda lacks, or ""."""
        request = x.request
        return await self._absent.operation(
            signing_name, request.method, request.path, request.query, request.headers
        )

    def _name_action(self, x: Exchange) -> None:
        body = x.request.body
        service, action = self._router.action(
            x.route.service, body if isinstance(body, bytes) else b"", x.request.query
        )
        x.route.operation = action
        installed = x.installed = self._installed.get(service)
        if installed is not None:
            x.route.service, x.dialect = service, installed.dialect
            x.offered = installed.offered(action) if action else None

    def _context(self, x: Exchange) -> Context:
        assert x.offered is not None
        request, principal, public = x.request, x.principal, self._public
        service = x.offered.service
        return Context(
            service,
            x.offered.name,
            x.region,
            principal.account if principal is not ANONYMOUS else self._account,
            principal,
            x.request_id,
            self._check(principal, self._keys(x), service),
            request.headers,
            request.source_ip,
            endpoint=f"http://{request.host}" if public is None else str(public),
            environment_id=request.environment_id,
            policies=self._policies,
            names_below=self._hosts.ours(f"a.{request.host if public is None else public.host}"),
        )

    def _keys(self, x: Exchange) -> RequestKeys:
        more = x.installed.service.request_keys if x.installed is not None else None
        if more is None:
            return RequestKeys(x.request, x.region)
        make = partial(more, x.request, x.claim, self._clock.now())
        return RequestKeys(x.request, x.region, make)

    def _check(
        self, principal: Principal, keys: RequestKeys, service: str
    ) -> Callable[[Need], None]:
        """Return a function that checks a need of one call."""
        return partial(self._authorizer.check, principal, keys=keys, service=service)

    async def _authorise_head(
        self, x: Exchange, offered: OfferedOperation, ctx: Context, head: Mapping[str, Any]
    ) -> bool:
        """Check the permissions that the head alone names. Return whether that is all of them.

        A head that is invalid, or names a missing resource, is reported together with the body's
        errors, as AWS does, but only if the body is small.
        """
        if not offered.in_body or x.inbound.empty or (x.arriving is None and not offered.parsed):
            return False  # there is nothing to be spared
        assert x.installed is not None
        params = HeadParameters(head, offered.in_body)
        needs: list[Need] = []
        wrong: AwsError | None = None
        settled = False
        try:
            x.installed.validator.check_head(offered.model, head)
            needs.extend(_needs(offered, ctx, params))
            settled = True
        except ParameterInBody:
            if not needs and offered.nameless and not self._parsing.is_small(x):
                self._authorizer.check_ever(x.principal, offered.need, service=offered.service)
        except AwsError as error:
            wrong = error
        try:
            for need in needs:
                try:
                    await ctx.authorize(need)
                except ParameterInBody:  # by what the policies say, it depends on the body
                    settled = False
            if wrong is not None and not self._parsing.is_small(x):
                raise wrong
        finally:
            wrong = None  # its traceback leads to this frame
        return settled

    @staticmethod
    async def _authorise(
        offered: OfferedOperation, ctx: Context, params: Mapping[str, Any]
    ) -> None:
        for need in _needs(offered, ctx, params):
            await ctx.authorize(need)

    @staticmethod
    async def _run(offered: OfferedOperation, ctx: Context, params: Mapping[str, Any]) -> Any:
        assert offered.operation is not None
        output = await offered.operation.run(ctx, **offered.keywords(params))
        if offered.pager is not None:
            return await offered.pager.cut(ctx, params, output)
        return output

    @staticmethod
    def _serialise(x: Exchange, offered: OfferedOperation, output: Any) -> WireResponse:
        assert x.installed is not None
        protocol = x.installed.protocol(x.route.wire)
        if isinstance(output, Answer):
            response = protocol.serialize(output.output, offered.model, x.request_id, output.status)
            response.headers.extend(output.headers.items())
            return response
        return protocol.serialize(output or {}, offered.model, x.request_id)

    def _made(self, x: Exchange, answer: Answer) -> WireResponse:
        assert x.offered is not None
        return self._serialise(x, x.offered, answer)

    # Beside the way of an operation

    async def _decorated(self, x: Exchange, response: WireResponse) -> WireResponse:
        decorate = x.installed.service.decorate if x.installed is not None else None
        if decorate is not None:
            try:
                await decorate(x.request, x.route.decoded(), response)
            except Exception:
                log.exception("request %s: its answer could not be decorated", x.request_id)
        return response

    def _answer_health(self, request: WireRequest) -> WireResponse:
        if request.method not in ("GET", "HEAD"):
            return WireResponse(405, [("Allow", "GET")])
        services: Any = sorted(self._installed)
        if request.path == _HEALTH_ELSEWHERE:
            services = dict.fromkeys(services, "running")
        body = {"status": "ok", "reasons": [], "services": services, **self._health()}
        if self._traffic.draining:
            body["status"] = "stopping"
        return WireResponse(200, [("Content-Type", "application/json")], orjson.dumps(body))

    # For the platform itself

    async def call(
        self,
        service: str,
        operation: str,
        params: Mapping[str, Any],
        principal: Principal,
        *,
        region: str = DEFAULT_REGION,
        account: str = "",
        forwarded: Context | None = None,
    ) -> dict[str, Any]:
        """Run the same operation in process: validated and authorised; return its output by model
        names.

        account: the caller's if empty. forwarded: the call of another service on whose behalf this
        one is made, with its caller's rights, as of a service. Raises AwsError as a caller over
        HTTP would get it.
        """
        installed = self._installed.get(service)
        offered = installed.offered(operation) if installed is not None else None
        if installed is None or offered is None or offered.operation is None:
            raise not_implemented(service, operation)
        installed.validator.check(offered.model, params)
        if offered.streams:
            params = _with_streams(offered, params)
        ctx = Context(
            service,
            operation,
            region,
            account or principal.account,
            principal,
            self._ids.uuid(),
            self._check(principal, RequestKeys(None, region), service)
            if forwarded is None
            else partial(_as_a_service, forwarded.check),
            policies=self._policies,
        )
        await self._authorise(offered, ctx, params)
        output = await self._run(offered, ctx, params)
        if isinstance(output, Answer):
            output = output.output
        return dict(output or {})

    async def drain(self, grace_s: float) -> bool:
        """Refuse new requests and wait for those running. Return whether all of them ended in time.

        Requests of execution environments are still answered: their invocations are waited for.
        """
        return await self._traffic.drain(grace_s)


def _needs(offered: OfferedOperation, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
    assert offered.operation is not None
    needs = offered.operation.needs
    if needs is not None:
        return needs(ctx, params)
    return () if offered.anybody else (offered.need,)


def _as_a_service(check: Callable[[Need], None], need: Need) -> None:
    """Check a need as of a service. Source: IAM User Guide, "Forward access sessions"."""
    check(replace(need, context={**need.context, "aws:ViaAWSService": "true"}))


def _with_streams(offered: OfferedOperation, params: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the bytes that in-process callers give into streamed blobs."""
    shape = offered.model.input_shape
    name = str(shape.serialization.get("payload")) if shape is not None else ""
    value = params.get(name)
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes | bytearray):
        return {**params, name: BytesBody(bytes(value))}
    return dict(params)

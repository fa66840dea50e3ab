"""The fast path of a request: plain, read whole, and answered in one write.

The general way (gateway.py) reads any HTTP, and words every refusal. Here a request is read
straight from its bytes. The meaning of its head is cached by those bytes (its route, its signatory,
the key derived for them, the string to sign), and only after its signature was verified; so the
next request with the same head costs one look-up. Each request is decided by the same ``admit`` and
its signature is compared, and then it goes on as on the general way: it is parsed, validated,
authorised and run. An operation may offer a FastHandler besides, which works without tasks and
parameters and calls back.

Law of this file: a request that is unusual in any way is left to the general way, from its first
byte and before any side effect, so that every refusal is worded in one place. Nothing is taken over
from an earlier request that may differ in this one: cached values are found by the very bytes that
they were made from, or are checked again.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from boda.core.clock import Clock
from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.gateway.asking.authorization import Authorizer, Permit
from boda.gateway.calling.checksums import is_sha256
from boda.gateway.calling.exchange import Exchange
from boda.gateway.calling.fast_handler import REQUEST_ID, VARIES, AnswerForm, FastHandler
from boda.gateway.calling.head import Head, HeadReader
from boda.gateway.calling.operation import Answer
from boda.gateway.calling.payload import Payloads
from boda.gateway.calling.refusals import Refusals
from boda.gateway.http.asgi import plain_headers, send_response
from boda.gateway.http.body import Inbound, incomplete_body
from boda.gateway.http.contract import ClientConnection, Verdict
from boda.gateway.http.cycle import fields_of, status_line
from boda.gateway.http.heads import MAX_HEAD, Headers, Heads, request_line
from boda.gateway.http.hosts import Hosts
from boda.gateway.http.intake import Intake
from boda.gateway.http.limits import Limits
from boda.gateway.http.traffic import Traffic
from boda.gateway.http.wire import Stream, WireRequest, WireResponse
from boda.gateway.signing import sigv4
from boda.gateway.signing.admission import admit
from boda.gateway.signing.authentication import Authenticator, canonical_of, matching
from boda.gateway.signing.claim import Claim, Signatory, claim_of
from boda.gateway.signing.identity import Credential, Directory

log = logging.getLogger("boda.gateway")

_AUTHORIZATION = b"uthorization: "
_SIGNED = _AUTHORIZATION + b"AWS4-HMAC-SHA256 "
_SIGNATURE = b"Signature="
_BEFORE = (b"\r\nA", b"\r\na")
_LONGEST_REST = 64 * 1024
_BODILESS = (204, 304)
_MOST_KNOWN = 2048
_MOST_GRANTS = 64
_MOST_VISITS = 1024
_MOST_SEEN = 8192
_LONGEST = 4096
"""The most bytes that are cached of one head."""

Given = frozenset[tuple[str, str]]
Made = Callable[[Exchange, Answer], WireResponse]
Serve = Callable[[Exchange], Awaitable[WireResponse]]
Key = tuple[bytes, bytes, str | None, Given | None]
"""The key of a known head: the Authorization header up to its signature, the first line, the host,
and the other headers that determine its meaning."""


async def _no_body() -> Any:
    raise incomplete_body()


_NOTHING = Inbound(_no_body, 0, empty=True, intake=Intake(Limits()))


class _Grant:
    """A call that was permitted with one head and may be made again. x: its exchange on the general
    way."""

    __slots__ = ("handler", "permit", "x")

    def __init__(self, x: Exchange, permit: Permit, handler: FastHandler) -> None:
        self.x = x
        self.permit = permit
        self.handler = handler


class _KnownHead:
    """The meaning of one head, and the credential that its signatory had last.

    grants: by the values of the headers that are parameters, of an operation with a fast path.
    """

    __slots__ = (
        *("canonical", "credential", "grants", "head", "method", "path", "query"),
        *("rules", "scope", "signatory", "signer"),
    )

    def __init__(self, head: Head, signatory: Signatory) -> None:
        request = head.request
        self.head = head
        self.method, self.path, self.query = request.method, request.path, request.query
        self.signatory = signatory
        self.scope = signatory.scope
        self.rules = head.dialect.signatures
        self.canonical = canonical_of(request, signatory, self.rules)
        self.credential: Credential | None = None
        self.signer: sigv4.Signer | None = None
        self.grants: dict[Given | None, _Grant] = {}

    def meet(self, credential: Credential, signer: sigv4.Signer) -> None:
        """Replace the credential; permissions are forgotten."""
        self.credential, self.signer = credential, signer
        self.grants.clear()


class _Visit:
    """The meaning of a head to a site: the same head, byte for byte, from the same address."""

    __slots__ = ("handler", "headers", "length")

    def __init__(self, handler: FastHandler | None, headers: Headers) -> None:
        self.handler = handler
        self.headers = headers
        self.length = int(headers.get("content-length", 0))


_NOWHERE = _Visit(None, {})


class GatewayFastPath:
    """sites: as the gateway's. The method ``fast_handler`` of a site, if it has one, returns the
    handler of a request (given without its body), or None. own_paths: the platform's own.

    serve: goes on with a request whose caller is known. made: returns an operation's answer in the
    form that the general way sends. request_id: makes one. checked: whether signatures are
    verified; if not, signed requests go the general way.
    """

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        ids: Ids,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
        heads: HeadReader,
        payloads: Payloads,
        refusals: Refusals,
        traffic: Traffic,
        intake: Intake,
        limits: Limits,
        hosts: Hosts,
        sites: Sequence[Any],
        own_paths: Sequence[str],
        serve: Serve,
        made: Made,
        request_id: Callable[[Exchange], str],
        checked: bool,
    ) -> None:
        self.refusals = refusals
        self.traffic = traffic
        self.made = made
        self._directory = directory
        self._clock = clock
        self._ids = ids
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._reader = heads
        self._payloads = payloads
        self._intake = intake
        self._hosts = hosts
        self._most_head = min(MAX_HEAD, limits.head_bytes // 2)
        self._most_headers = limits.headers
        self._most_parameters = limits.query_parameters
        self._sites = tuple(sites)
        self._own_paths = tuple(own_paths)
        self._serve = serve
        self._request_id = request_id
        self._checked = checked
        self._lines = Heads()
        self._known: dict[Key, _KnownHead] = {}
        self._visits: dict[tuple[bytes, str], _Visit] = {}
        self._seen: set[int] = set()

    # A request

    def take(self, client: ClientConnection, data: bytes) -> Verdict:
        """Take a request if it is one for the fast path.

        data: the bytes read from the client, beginning with a request's first byte.
        """
        end = data.find(b"\r\n\r\n", 0, self._most_head)
        if end < 0 or self.traffic.draining:
            return "no"
        at = data.find(_SIGNED, 0, end)
        if at < 0:
            return self._take_visit(client, data, end)
        if data[at - 3 : at] not in _BEFORE or not self._checked:
            return "no"
        stop = data.find(b"\r\n", at)
        signer, _, signature = data[at + len(_AUTHORIZATION) : stop].rpartition(_SIGNATURE)
        line, *lines = (data[: at - 3] + data[stop:end]).split(b"\r\n")
        headers = self._lines.read(lines)
        if headers is None or "authorization" in headers or len(lines) >= self._most_headers:
            return "no"
        routing = self._reader.routing_headers
        given = None if routing.isdisjoint(headers) else _given(routing, headers)
        key = (signer, line, headers.get("host"), given)
        learned = self._known.get(key)
        known = learned or self._find(line, signer, headers)
        if known is None:
            return "no"
        body = data[end + 4 :]
        missing = int(headers.get("content-length", 0)) - len(body)
        if missing:
            return _without(missing)
        claim = claim_of(known.signatory, signature.decode("latin-1"), headers)
        if claim is None or not self._admits(known, claim, headers, body):
            return "no"
        if learned is None:
            self._keep(key, known)
        if known.grants and self._take_granted(client, known, headers, body):
            return "yes"
        return self._take_call(client, known, claim, headers, body)

    def _find(self, line: bytes, signer: bytes, headers: Headers) -> _KnownHead | None:
        """Read the meaning of a head that is not known. None if it is for the general way."""
        asked = request_line(line)
        authorization = self._lines.value(signer + _SIGNATURE + b"0")
        if asked is None or authorization is None:
            return None
        method, path, query = asked
        if path in self._own_paths or query.count("&") >= self._most_parameters:
            return None
        signed = {**headers, "authorization": authorization}
        request = WireRequest(method, path, query, signed, b"", headers.get("host", ""))
        if any(site.matches(request) for site in self._sites):
            return None
        head = self._reader.read(request)
        claim = head.claim
        if claim is None or claim.signatory.presigned or head.against is not None:
            return None
        if head.offered is None and not head.route.action_in_body:
            return None
        return _KnownHead(head, claim.signatory)

    def _admits(self, known: _KnownHead, claim: Claim, headers: Headers, body: bytes) -> bool:
        """Return whether the caller is admitted and the signature is right."""
        credential = self._directory.credential(known.signatory.access_key_id)
        rules = known.rules
        if admit(None, claim, rules, headers, credential, self._clock.now()) is not None:
            return False
        assert credential is not None
        if credential is not known.credential:
            known.meet(credential, self._authenticator.signer(credential, known.signatory))
        digest = headers.get("x-amz-content-sha256")
        if not rules.hash_in_header:
            computed = hashlib.sha256(body).hexdigest()
            if digest is not None and digest != computed:
                return False
            digest = computed
        elif digest is None or not (digest == sigv4.UNSIGNED or is_sha256(digest)):
            return False
        try:
            texts = known.canonical.requests(headers, digest)
        except KeyError:
            return False
        assert known.signer is not None
        return matching(known.signer, claim, known.scope, texts) != ""

    def _take_granted(
        self, client: ClientConnection, known: _KnownHead, headers: Headers, body: bytes
    ) -> bool:
        """Handle the request by the FastHandler of its grant, if there is one and it accepts the
        request."""
        offered = known.head.offered
        assert offered is not None and offered.fast_path is not None
        bound = offered.fast_path.bound
        given = None if bound.isdisjoint(headers) else _given(bound, headers)
        grant = known.grants.get(given)
        if grant is None or len(body) > offered.rule.limit:
            return False
        need = grant.handler.need()
        if need is not None and not grant.permit.holds(need):
            return False
        return self._run(client, grant.handler, grant.x, headers, body)

    def _take_call(
        self,
        client: ClientConnection,
        known: _KnownHead,
        claim: Claim,
        headers: Headers,
        body: bytes,
    ) -> Verdict:
        """Go on as the general way does with a request whose caller is known."""
        head, credential = known.head, known.credential
        assert credential is not None
        address = client.client
        request = WireRequest(
            known.method,
            known.path,
            known.query,
            headers,
            b"",
            headers.get("host", ""),
            address[0] if address is not None else "",
            client.environment_id,
        )
        inbound = Inbound(
            _no_body,
            len(body) if "content-length" in headers else None,
            empty=not body,
            intake=self._intake,
            ready=lambda: body,
        )
        x = Exchange(request, inbound)
        x.claim, x.credential, x.principal = claim, credential, credential.principal
        x.region, x.dialect = head.region, head.dialect
        x.installed, x.offered = head.installed, head.offered
        route = head.route
        x.route = copy.copy(route) if route.action_in_body else route
        x.known_head = known
        x.request_id = self._request_id(x)
        try:
            if not self._payloads.give(x, body):
                return "no"
        except AwsError:
            return "no"
        self.traffic.begin()
        client.start(self._answer(client, x))
        return "yes"

    async def _answer(self, client: ClientConnection, x: Exchange) -> None:
        reply = _Reply(self, client, None, x.request_id)
        try:
            response = await self._serve(x)
            if isinstance(response.body, Stream):
                cycle = client.begin_stream(x.request.method)
                await send_response(x.request, x.inbound, response, cycle.receive, cycle.send)
                reply.close(written=True)
            else:
                reply.respond(response)
        except Exception:
            log.exception("request %s: its answer could not be sent", x.request_id)
        finally:
            reply.close()

    def _take_visit(self, client: ClientConnection, data: bytes, end: int) -> Verdict:
        """Take a request to a site, which checks permissions itself."""
        address = client.client
        if address is None:
            return "no"
        key = (data[:end], address[0])
        visit = self._visits.get(key) or self._arrive(key)
        if visit is None or visit.handler is None:
            return "no"
        body = data[end + 4 :]
        missing = visit.length - len(body)
        if missing:
            return _without(missing)
        if self._run(client, visit.handler, None, visit.headers, body):
            return "yes"
        self._visits.pop(key, None)
        return "no"

    def _run(
        self,
        client: ClientConnection,
        handler: FastHandler,
        x: Exchange | None,
        headers: Headers,
        body: bytes,
    ) -> bool:
        request_id = self._ids.uuid()
        reply = _Reply(self, client, x, request_id)
        traffic = self.traffic
        traffic.begin()
        try:
            begun = handler.handle(request_id, headers, body, reply)
        except Exception as error:
            reply.fail(error)
            return True
        if not begun:
            traffic.end()
        return begun

    # Learning

    def _keep(self, key: Key, known: _KnownHead) -> None:
        signer, line, host, given = key
        size = len(signer) + len(line) + len(host or "")
        if size + sum([len(value) for _, value in given or ()]) > _LONGEST:
            return
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = known

    def learn(self, x: Exchange, params: Mapping[str, Any]) -> None:
        """Cache the FastHandler, if one is offered, of a request that was just found valid."""
        offered, known = x.offered, x.known_head
        assert (
            isinstance(known, _KnownHead) and offered is not None and offered.fast_path is not None
        )
        fast_path = offered.fast_path
        keywords = offered.keywords(params)
        keywords.pop(fast_path.payload, None)
        handler = fast_path.offer(x.principal.account, x.region, **keywords)
        if handler is None or known.credential is not x.credential:
            return
        kept = copy.copy(x)
        kept.request = kept.signed = WireRequest(known.method, known.path, known.query, {})
        kept.inbound, kept.known_head = _NOTHING, None
        if len(known.grants) >= _MOST_GRANTS:
            known.grants.clear()
        given = _given(fast_path.bound, x.request.headers) or None
        known.grants[given] = _Grant(kept, self._authorizer.permit(x.principal), handler)

    def _arrive(self, key: tuple[bytes, str]) -> _Visit | None:
        """Return the visit of a head that was seen before.

        The first one is only noted: any client can send heads that never come again.
        """
        head, address = key
        mark = hash(key)
        if mark not in self._seen:
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen.add(mark)
            return None
        if len(head) > _LONGEST:
            return None
        first, *lines = head.split(b"\r\n")
        asked, headers = request_line(first), self._lines.read(lines)
        if asked is None or headers is None or len(lines) > self._most_headers:
            return None
        request = WireRequest(*asked, headers, b"", headers.get("host", ""), address)
        if not self._hosts.ours(request.host):
            return None
        visit = _NOWHERE
        for site in self._sites:
            if site.matches(request):
                offer = getattr(site, "fast_handler", None)
                handler = offer(request) if offer is not None else None
                if handler is None:
                    return None
                visit = _Visit(handler, headers)
                break
        if len(self._visits) >= _MOST_VISITS:
            self._visits.clear()
        self._visits[key] = visit
        return visit


class _Reply:
    """A ``fast_handler.Reply``."""

    __slots__ = ("_client", "_over", "_way", "_x", "request_id")

    def __init__(
        self, way: GatewayFastPath, client: ClientConnection, x: Exchange | None, request_id: str
    ) -> None:
        self._way = way
        self._client = client
        self._x = x
        self._over = False
        self.request_id = request_id

    def form(self, answer: Answer | WireResponse) -> AnswerForm:
        if isinstance(answer, Answer):
            response, varies = self._way.made(self._exchange(REQUEST_ID), answer), VARIES.encode()
        else:
            response, varies = answer, b"\0"
        headers = plain_headers(response)
        if response.status in _BODILESS or any(name == b"connection" for name, _ in headers):
            raise ValueError("such an answer has no form")
        fields = fields_of(headers).replace(b"%", b"%%")
        id_at, varies_at = fields.find(REQUEST_ID.encode()), fields.find(varies)
        if id_at < 0 or 0 <= varies_at < id_at or fields.count(REQUEST_ID.encode()) > 1:
            raise ValueError("an answer's form has one place for the request id")
        fields = fields.replace(REQUEST_ID.encode(), b"%b", 1)
        if varies_at >= 0:
            fields = fields.replace(varies, b"%b", 1)
        else:
            fields += b"%.0b"  # takes the varying value and writes nothing
        return AnswerForm(status_line(response.status), fields + b"content-length: %d\r\n")

    def answer(self, form: AnswerForm, varying: str, payload: bytes) -> None:
        if self._end():
            fields = form.fields % (self.request_id.encode(), varying.encode(), len(payload))
            self._client.reply(form.status, fields, payload, closes=False)

    def respond(self, response: WireResponse) -> None:
        if not self._end():
            return
        headers, body = plain_headers(response), response.body
        assert isinstance(body, bytes)
        if response.status in _BODILESS:
            body = b""
        else:
            headers.append((b"content-length", b"%d" % len(body)))
        closes = any(name == b"connection" and b"close" in value for name, value in headers)
        try:
            fields = fields_of(headers)
        except ValueError:
            log.exception("request %s: its answer could not be written", self.request_id)
            self._client.abort()
            return
        self._client.reply(status_line(response.status), fields, body, closes=closes)

    def fail(self, error: BaseException) -> None:
        if self._over:
            log.error("request %s: failed after its answer", self.request_id, exc_info=error)
            return
        # Not raised here: its traceback would refer to this frame, and so to itself.
        x, refusals = self._exchange(self.request_id), self._way.refusals
        refusal = error if isinstance(error, AwsError) else refusals.unexpected(x, error)
        self.respond(refusals.answer(x, refusal))

    def close(self, *, written: bool = False) -> None:
        """End without an answer, unless one was written (here, or by other means if
        ``written``)."""
        if not self._over:
            self._end()
            if not written:
                self._client.abort()

    def _exchange(self, request_id: str) -> Exchange:
        if self._x is None:
            return Exchange(WireRequest("", "", "", {}), _NOTHING)
        x = copy.copy(self._x)
        x.request_id = request_id
        return x

    def _end(self) -> bool:
        """Return whether this call is the first to end the request."""
        if self._over:
            log.error("request %s: answered twice", self.request_id)
            return False
        self._over = True
        self._way.traffic.end()
        return True


def _without(missing: int) -> Verdict:
    """Return the verdict on a request that lacks so many bytes of its body, or has too many."""
    return "awaits" if 0 < missing <= _LONGEST_REST else "no"


def _given(bound: frozenset[str], headers: Mapping[str, str]) -> Given:
    return frozenset((name, headers[name]) for name in bound if name in headers)

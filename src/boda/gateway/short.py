"""The short way of a request: plain, warm, read whole, and answered in one write.

The general way (gateway.py) is the truth. What it has just let pass (authenticated, parsed,
validated, authorised) may be learned here, and the next request of the same kind then goes
without tasks, scopes and parameters: its bytes are read once, its signature and permission are
checked as ever, and the service's own ``Target`` begins the work and is called back.

Law of this file: whatever is out of the ordinary goes the general way, from its first byte and
before anything has been begun, so that every refusal is worded in one place. Nothing is taken
from an earlier request that may differ in this one: what is kept is found by the very bytes that
it was made from, or is looked at again.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from boda.core.errors import AwsError
from boda.core.ids import Ids
from boda.gateway.asking.authorization import Authorizer, Permit
from boda.gateway.calling.exchange import Exchange
from boda.gateway.calling.operation import Answer
from boda.gateway.calling.refusals import Refusals
from boda.gateway.calling.target import REQUEST_ID, VARIES, Form, Target
from boda.gateway.http.asgi import plain_headers
from boda.gateway.http.body import Inbound, incomplete_body
from boda.gateway.http.cycle import fields_of, status_line
from boda.gateway.http.fast_path import Begun, Client
from boda.gateway.http.heads import MAX_HEAD, Headers, Heads, request_line
from boda.gateway.http.hosts import Hosts
from boda.gateway.http.intake import Intake
from boda.gateway.http.limits import Limits
from boda.gateway.http.traffic import Traffic
from boda.gateway.http.wire import WireRequest, WireResponse
from boda.gateway.signing.authentication import Authenticator, KnownCaller

log = logging.getLogger("boda.gateway")

_AUTHORIZATION = b"uthorization: "
_SIGNED = _AUTHORIZATION + b"AWS4-HMAC-SHA256 "
_SIGNATURE = b"Signature="
_BEFORE = (b"\r\nA", b"\r\na")
_LONGEST_REST = 64 * 1024
_BODILESS = (204, 304)
_MOST_GRANTS = 2048
_MOST_VISITS = 1024
_MOST_SEEN = 8192
_LONGEST = 4096
"""Bytes of what is kept of one head."""

Given = frozenset[tuple[str, str]]
Made = Callable[[Exchange, Answer], WireResponse]


async def _no_body() -> Any:
    raise incomplete_body()


_NOTHING = Inbound(_no_body, 0, empty=True, intake=Intake(Limits()))


class _Grant:
    """What a caller did in one place, was let to do, and may ask for again.

    x: what the general way knew of it. limit: of the body, in bytes.
    """

    __slots__ = ("caller", "limit", "permit", "target", "x")

    def __init__(
        self, x: Exchange, caller: KnownCaller, permit: Permit, target: Target, limit: int
    ) -> None:
        self.x = x
        self.caller = caller
        self.permit = permit
        self.target = target
        self.limit = limit


class _Visit:
    """What a head means to a site: the same head, byte for byte, from the same address."""

    __slots__ = ("headers", "length", "target")

    def __init__(self, target: Target | None, headers: Headers) -> None:
        self.target = target
        self.headers = headers
        self.length = int(headers.get("content-length", 0))


_NOWHERE = _Visit(None, {})


class ShortWay:
    """sites: as the gateway's; those with a method ``short`` are asked for the Target of a
    request (its body left out), or None.

    made: an operation's answer as the general way puts it on the wire.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        authorizer: Authorizer,
        refusals: Refusals,
        traffic: Traffic,
        limits: Limits,
        ids: Ids,
        sites: Sequence[Any],
        made: Made,
        hosts: Hosts,
    ) -> None:
        self._hosts = hosts
        self.refusals = refusals
        self.traffic = traffic
        self.made = made
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._most_head = min(MAX_HEAD, limits.head_bytes // 2)
        self._most_headers = limits.headers
        self._ids = ids
        self._sites = tuple(sites)
        self._heads = Heads()
        self._places: dict[bytes, frozenset[str]] = {}
        self._grants: dict[tuple[bytes, bytes, str, Given | None], _Grant] = {}
        self._visits: dict[tuple[bytes, str], _Visit] = {}
        self._seen: set[int] = set()

    # A request

    def begin(self, client: Client, data: bytes) -> Begun:
        """Take a request if it can go this way.

        data: what was read from the client, beginning with a request's first byte.
        """
        end = data.find(b"\r\n\r\n", 0, self._most_head)
        if end < 0 or self.traffic.draining:
            return "no"
        at = data.find(_SIGNED, 0, end)
        if at < 0:
            return self._begin_visit(client, data, end)
        found = self._find(data, at, end)
        if found is None:
            return "no"
        grant, headers, signature = found
        body = data[end + 4 :]
        missing = int(headers.get("content-length", 0)) - len(body)
        if missing:
            return _without(missing)
        if len(body) > grant.limit:
            return "no"
        if not self._authentic(grant, headers, body, signature) or not self._permitted(grant):
            return "no"
        return "yes" if self._run(client, grant.target, grant.x, headers, body) else "no"

    def _find(self, data: bytes, at: int, end: int) -> tuple[_Grant, Headers, bytes] | None:
        """What was granted to signed requests like this; its headers and signature."""
        bound = self._places.get(data[: data.find(b"\r\n")])
        if bound is None or data[at - 3 : at] not in _BEFORE:
            return None
        stop = data.find(b"\r\n", at)
        signer, _, signature = data[at + len(_AUTHORIZATION) : stop].rpartition(_SIGNATURE)
        line, *lines = (data[: at - 3] + data[stop:end]).split(b"\r\n")
        headers = self._heads.read(lines)
        if headers is None or "authorization" in headers or len(lines) >= self._most_headers:
            return None
        given = None if bound.isdisjoint(headers) else _given(bound, headers)
        grant = self._grants.get((signer, line, headers.get("host", ""), given))
        return None if grant is None else (grant, headers, signature)

    def _authentic(self, grant: _Grant, headers: Headers, body: bytes, signature: bytes) -> bool:
        digest = hashlib.sha256(body).hexdigest()
        declared = headers.get("x-amz-content-sha256")
        if declared is not None and declared != digest:
            return False
        return grant.caller.believes(headers, digest, signature)

    def _permitted(self, grant: _Grant) -> bool:
        need = grant.target.need()
        return need is None or grant.permit.holds(need)

    def _begin_visit(self, client: Client, data: bytes, end: int) -> Begun:
        """The same for requests to sites; who may is the site's own affair."""
        address = client.client
        if address is None:
            return "no"
        key = (data[:end], address[0])
        visit = self._visits.get(key) or self._arrive(key)
        if visit is None or visit.target is None:
            return "no"
        body = data[end + 4 :]
        missing = visit.length - len(body)
        if missing:
            return _without(missing)
        if self._run(client, visit.target, None, visit.headers, body):
            return "yes"
        self._visits.pop(key, None)
        return "no"

    def _run(
        self, client: Client, target: Target, x: Exchange | None, headers: Headers, body: bytes
    ) -> bool:
        request_id = self._ids.uuid()
        reply = _Reply(self, client, x, request_id)
        traffic = self.traffic
        traffic.begin()
        try:
            begun = target.begin(request_id, headers, body, reply)
        except Exception as error:
            reply.fail(error)
            return True
        if not begun:
            traffic.end()
        return begun

    # Learning

    def learn(self, x: Exchange, params: Mapping[str, Any]) -> None:
        """Keep what a request means that the general way has just found in order."""
        offered, claim, credential, request = x.offered, x.claim, x.credential, x.request
        if offered is None or offered.briefly is None or claim is None or credential is None:
            return
        if claim.presigned or request is not x.signed or not x.route.wire.startswith("rest-"):
            return
        path = f"{request.path}?{request.query}" if request.query else request.path
        line = f"{request.method} {path} HTTP/1.1".encode("latin-1")
        signer, found, _ = request.headers.get("authorization", "").rpartition("Signature=")
        host = request.headers.get("host", "")
        if not found or len(line) + len(signer) + len(host) > _LONGEST or not request_line(line):
            return
        brief = offered.briefly
        keywords = offered.keywords(params)
        keywords.pop(brief.payload, None)
        target = brief.short(x.principal.account, x.region, **keywords)
        if target is None:
            return
        kept = copy.copy(x)
        kept.request = kept.signed = WireRequest(request.method, request.path, request.query, {})
        kept.inbound = _NOTHING
        grant = _Grant(
            kept,
            self._authenticator.acquaint(claim, credential, request, x.dialect.signatures),
            self._authorizer.permit(x.principal),
            target,
            offered.rule.limit,
        )
        if len(self._grants) >= _MOST_GRANTS or len(self._places) >= _MOST_GRANTS:
            self._grants.clear()
            self._places.clear()
        self._places[line] = brief.bound
        given = _given(brief.bound, request.headers) or None
        self._grants[signer.encode("latin-1"), line, host, given] = grant

    def _arrive(self, key: tuple[bytes, str]) -> _Visit | None:
        """The visit of a head that was seen before, and only then: anybody can send heads that
        never come again."""
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
        asked, headers = request_line(first), self._heads.read(lines)
        if asked is None or headers is None or len(lines) > self._most_headers:
            return None
        request = WireRequest(*asked, headers, b"", headers.get("host", ""), address)
        if not self._hosts.ours(request.host):
            return None
        visit = _NOWHERE
        for site in self._sites:
            if site.matches(request):
                short = getattr(site, "short", None)
                target = short(request) if short is not None else None
                if target is None:
                    return None
                visit = _Visit(target, headers)
                break
        if len(self._visits) >= _MOST_VISITS:
            self._visits.clear()
        self._visits[key] = visit
        return visit


class _Reply:
    """service.Reply."""

    __slots__ = ("_client", "_over", "_way", "_x", "request_id")

    def __init__(self, way: ShortWay, client: Client, x: Exchange | None, request_id: str) -> None:
        self._way = way
        self._client = client
        self._x = x
        self._over = False
        self.request_id = request_id

    def form(self, answer: Answer | WireResponse) -> Form:
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
            fields += b"%.0b"  # takes what varies and writes nothing
        return Form(status_line(response.status), fields + b"content-length: %d\r\n")

    def answer(self, form: Form, varying: str, payload: bytes) -> None:
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
        # Not raised here: its traceback would lead to this frame, and so back to itself.
        x, refusals = self._exchange(self.request_id), self._way.refusals
        refusal = error if isinstance(error, AwsError) else refusals.unexpected(x, error)
        self.respond(refusals.answer(x, refusal))

    def _exchange(self, request_id: str) -> Exchange:
        if self._x is None:
            return Exchange(WireRequest("", "", "", {}), _NOTHING)
        x = copy.copy(self._x)
        x.request_id = request_id
        return x

    def _end(self) -> bool:
        """Whether this is the answer, and not another one."""
        if self._over:
            log.error("request %s: answered twice", self.request_id)
            return False
        self._over = True
        self._way.traffic.end()
        return True


def _without(missing: int) -> Begun:
    """What becomes of a request that lacks so many bytes of its body, or has some too many."""
    return "awaits" if 0 < missing <= _LONGEST_REST else "no"


def _given(bound: frozenset[str], headers: Mapping[str, str]) -> Given:
    return frozenset((name, headers[name]) for name in bound if name in headers)

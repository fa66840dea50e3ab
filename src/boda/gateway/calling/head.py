"""The meaning of a request's head, before its signature is verified.

Equal heads of signed requests mean the same, so the result may be cached by their bytes. (The
region of a head that names none comes from its service, and may change.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl

from boda.core.arn import DEFAULT_REGION
from boda.core.errors import printable
from boda.core.regions import Regions
from boda.gateway.calling import checksums
from boda.gateway.calling.installed_service import InstalledService, OfferedOperation
from boda.gateway.calling.routing import Route, Router
from boda.gateway.dialect import JSON, of_protocol
from boda.gateway.http.hosts import Hosts
from boda.gateway.http.wire import WireRequest
from boda.gateway.signing import sigv2
from boda.gateway.signing.admission import place_flaw
from boda.gateway.signing.claim import Claim, Flaw, MalformedClaim, hinted_scope, read_claim


class Head:
    """request: as the operation sees it; signed: as the caller signed it.

    claim, problem: the caller's claim, or why it cannot be read.
    installed, offered: the service and its operation, if boda has them. dialect: the service's, or
    the family's of the request's protocol.
    against: an objection to the request that holds wherever its signature comes from.
    """

    __slots__ = (
        *("against", "claim", "installed", "offered"),
        *("problem", "region", "request", "dialect", "route", "signed"),
    )

    def __init__(self, request: WireRequest) -> None:
        self.request = request
        self.signed = request
        self.claim: Claim | None = None
        self.problem: Flaw | None = None
        self.route = Route("", "rest-json")
        self.dialect = JSON
        self.region = DEFAULT_REGION
        self.installed: InstalledService | None = None
        self.offered: OfferedOperation | None = None
        self.against: Flaw | None = None


class HeadReader:
    """installed: the services, by name. regions: those that requests may be signed for. checked:
    whether signatures are verified; if not, the region is checked even of an unreadable claim."""

    def __init__(
        self,
        router: Router,
        installed: Mapping[str, InstalledService],
        hosts: Hosts,
        regions: Regions,
        *,
        checked: bool,
    ) -> None:
        self._router = router
        self._installed = installed
        self._hosts = hosts
        self._regions = regions
        self._checked = checked
        self._hoisted = frozenset(
            one.model.signing_name for one in installed.values() if one.dialect.signatures.hoisted
        )
        self.routing_headers = router.headers
        """The names of the headers that determine a request's meaning, beside ``Host``."""

    def read(self, request: WireRequest) -> Head:
        head = Head(request)
        scope: str | None = None
        try:
            claim = head.claim = read_claim(request)
        except MalformedClaim as malformed:
            claim, head.problem = None, malformed.flaw
            hint = hinted_scope(request)
            if hint is not None:
                _, head.region, scope = hint
        if claim is not None:
            signatory = claim.signatory
            head.region = signatory.region
            scope = signatory.service or self._router.otherwise or None
            if signatory.presigned and scope in self._hoisted:
                head.request = request = _hoisted(request, old=bool(signatory.until))
        route = head.route = self._router.route(request, scope)
        installed = head.installed = self._installed.get(route.service)
        if installed is not None:
            head.dialect = installed.dialect
            if route.operation:
                head.offered = installed.offered(route.operation)
            if head.problem is None and (claim is None or claim.signatory.until):
                region_of = installed.service.region_of
                head.region = (
                    region_of(route.decoded()) if region_of is not None else ""
                ) or head.region
        else:
            head.dialect = of_protocol(route.wire)
        head.against = place_flaw(self._region_refusal(head), self._foreign_host(request), "")
        return head

    def _region_refusal(self, head: Head) -> str:
        if head.region in self._regions or (head.problem is not None and self._checked):
            return ""
        return self._regions.refusal(printable(head.region))

    def _foreign_host(self, request: WireRequest) -> str:
        return "" if self._hosts.ours(request.host) else request.host[:256]


def _hoisted(request: WireRequest, *, old: bool) -> WireRequest:
    """Return the request with the headers that a presigned URL carries as parameters
    (``x-amz-tagging=…``)."""
    if old:
        return replace(request, headers=sigv2.hoisted(request.query) | dict(request.headers))
    if "x-amz-" not in request.query:
        return request
    found = {
        name: value
        for name, value in parse_qsl(request.query, keep_blank_values=True)
        if name.startswith("x-amz-")
        and name not in request.headers
        # Signed with the rest and otherwise ignored: a link is made before the upload's content is
        # known.
        and not name.startswith((checksums.PREFIX, "x-amz-sdk-checksum"))
    }
    return replace(request, headers={**request.headers, **found}) if found else request

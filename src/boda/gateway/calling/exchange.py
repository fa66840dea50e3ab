"""One request on its way through the gateway, and the condition keys that it supplies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

from boda.core.arn import DEFAULT_REGION
from boda.core.principal import ANONYMOUS
from boda.gateway.calling.head import Head
from boda.gateway.calling.installed_service import InstalledService, OfferedOperation
from boda.gateway.calling.routing import Route
from boda.gateway.dialect import JSON
from boda.gateway.http.body import Inbound
from boda.gateway.http.wire import WireRequest
from boda.gateway.signing.claim import Claim
from boda.gateway.signing.identity import Credential

Arriving = Callable[[], Awaitable[bytes]]


class Exchange:
    """The state of a request; each step sets the attributes that later ones read.

    request, signed, claim, route, dialect, region, installed, offered: of its Head. The operation
    of a query stands in its body and is set later.
    credential: the key of the verified signature.
    arriving: reads the body of an operation that takes it whole; None once it has been read.
    known_head: the fast path's cache of this head; None on the general way.
    """

    __slots__ = (
        *("arriving", "claim", "credential", "dialect", "inbound", "installed", "offered"),
        *("known_head", "principal", "region", "request", "request_id", "route", "signed"),
    )

    def __init__(self, request: WireRequest, inbound: Inbound) -> None:
        self.request = request
        self.signed = request
        self.inbound = inbound
        self.route = Route("", "rest-json")
        self.dialect = JSON
        self.claim: Claim | None = None
        self.credential: Credential | None = None
        self.installed: InstalledService | None = None
        self.offered: OfferedOperation | None = None
        self.known_head: Any = None
        self.principal = ANONYMOUS
        self.region = DEFAULT_REGION
        self.request_id = ""
        self.arriving: Arriving | None = None

    def understand(self, head: Head) -> None:
        """Take over a head's attributes."""
        self.request, self.signed = head.request, head.signed
        self.claim, self.region, self.dialect = head.claim, head.region, head.dialect
        self.installed, self.offered = head.installed, head.offered
        self.route = head.route


class RequestKeys(Mapping[str, str]):
    """The condition keys that the request itself supplies, made when a policy reads them.

    The authoriser adds the principal's keys and the time. request: None for calls in process. more:
    returns the keys that the service derives from its requests.
    """

    __slots__ = ("_made", "_more", "_region", "_request")

    def __init__(
        self,
        request: WireRequest | None,
        region: str,
        more: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        self._request = request
        self._region = region
        self._more = more
        self._made: dict[str, str] | None = None

    def __getitem__(self, key: str) -> str:
        return self._keys()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys())

    def __len__(self) -> int:
        return len(self._keys())

    def _keys(self) -> dict[str, str]:
        if self._made is None:
            made = {
                "aws:RequestedRegion": self._region,
                "aws:SecureTransport": "false",
                "aws:ViaAWSService": "false",
            }
            if self._request is not None:
                made["aws:SourceIp"] = self._request.source_ip
                for key, header in (("aws:UserAgent", "user-agent"), ("aws:Referer", "referer")):
                    value = self._request.headers.get(header)
                    if value is not None:
                        made[key] = value
            if self._more is not None:
                made.update(self._more())
            self._made = made
        return self._made

"""Find the service and the operation that a request is for.

In this order: the service that the signature is scoped to; ``X-Amz-Target``; the path of the smithy
RPC protocol; method and path of the REST services; ``Action=`` of the query protocol; and the
service to which everything else belongs (``Addressing.otherwise``), by path or by host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, unquote_plus

from botocore.model import ServiceModel

from boda.gateway.calling.absent import NONE_LACKING, Absent
from boda.gateway.calling.paths import Labels, PathTable
from boda.gateway.dialect import Addressing
from boda.gateway.http.wire import WireRequest

RPC_CBOR = "smithy-rpc-v2-cbor"
_REST = ("rest-json", "rest-xml")
_QUERY = ("query", "ec2")
# Only these two fields are read here: the others are parsed later, off the event loop if large.
_ACTION = re.compile(rb"(?:\A|[&\r\n])Action=([^&\r\n]{0,256})")
_VERSION = re.compile(rb"(?:\A|[&\r\n])Version=([^&\r\n]{0,64})")


_HEADERS = frozenset({"content-type", "smithy-protocol", "x-amz-target"})


@dataclass(slots=True)
class Route:
    """The destination of a request, as far as it is known before its body is read.

    service: botocore's name of an installed service; "" if boda lacks it or it is unknown.
    absent: the signing name of a service that boda lacks, else "".
    wire: the request's protocol. operation: "" if unknown, or still in the body.
    labels: the path's labels, percent-encoded.
    """

    service: str
    wire: str
    operation: str = ""
    labels: Labels = field(default_factory=dict)
    absent: str = ""

    @property
    def action_in_body(self) -> bool:
        return self.wire in _QUERY and not self.operation

    def label(self, name: str) -> str:
        return unquote(self.labels.get(name, ""))

    def decoded(self) -> dict[str, str]:
        return {name: self.label(name) for name in self.labels}


Offers = tuple[ServiceModel, Sequence[str], Addressing]
"""An installed service: its model, the names of the operations it has, and how it is found."""


@dataclass(slots=True)
class _RoutedService:
    name: str
    model: ServiceModel
    protocol: str
    spoken: tuple[str, ...]
    target: str
    table: PathTable | None
    addressing: Addressing


class Router:
    """services: the installed ones. lacking: facts about others, by signing name."""

    def __init__(
        self, services: Iterable[Offers], lacking: Mapping[str, Absent] = NONE_LACKING
    ) -> None:
        self._lacking = lacking
        self._by_signing: dict[str, list[_RoutedService]] = {}
        self._by_target: dict[str, _RoutedService] = {}
        self._by_host: dict[str, _RoutedService] = {}
        self._all: list[_RoutedService] = []
        self._otherwise: _RoutedService | None = None
        for model, offered, addressing in services:
            known = _known(model, offered, addressing)
            self._all.append(known)
            self._by_signing.setdefault(model.signing_name, []).append(known)
            self._by_host.setdefault(str(model.metadata.get("endpointPrefix", known.name)), known)
            if known.target:
                self._by_target[known.target] = known
            if addressing.otherwise:
                self._otherwise = known
        self.headers = _HEADERS.union(
            *(known.addressing.headers for known in self._all),
            *(known.table.headers for known in self._all if known.table is not None),
        )
        """The names of the headers that determine a route, beside ``Host``."""

    @property
    def otherwise(self) -> str:
        """The signing name of the service to which everything else belongs, "" for none."""
        return self._otherwise.model.signing_name if self._otherwise is not None else ""

    def route(self, request: WireRequest, scope: str | None) -> Route:
        """Route a request. scope: the signing name in the credential scope; None if it is
        unsigned."""
        if scope is None:
            return self._unsigned(request)
        found = self._by_signing.get(scope)
        if found is None:
            return self._absent(request, scope)
        if len(found) == 1:
            return self._within(found[0], request)
        return self._among(found, request)

    def action(self, service: str, body: bytes, query: str) -> tuple[str, str]:
        """Return service and operation of a query-protocol request; "" for an unknown one.

        service: as routed; "" searches the installed services for action and version.
        """
        form = query.encode("utf-8", "replace") + b"&" + body
        action, version = _field(_ACTION, form), _field(_VERSION, form)
        if service or not action:
            return service, action
        for known in self._all:
            if any(protocol in known.spoken for protocol in _QUERY) and (
                not version or known.model.api_version == version
            ):
                try:
                    known.model.operation_model(action)
                except Exception:  # noqa: S112 - botocore's own error type for "no such operation"
                    continue
                return known.name, action
        return "", action

    def _within(self, known: _RoutedService, request: WireRequest) -> Route:
        headers = request.headers
        if known is not self._otherwise:
            if headers.get("smithy-protocol") == "rpc-v2-cbor" and RPC_CBOR in known.spoken:
                return Route(known.name, RPC_CBOR, _rpc_operation(request.path))
            target = headers.get("x-amz-target")
            if target is not None and "json" in known.spoken:
                return Route(known.name, "json", target.rpartition(".")[2])
        if known.table is not None:
            path = request.path
            addressing = known.addressing
            elsewhere = addressing.elsewhere(request) if addressing.elsewhere is not None else ""
            if elsewhere:
                return self._absent(request, elsewhere)
            label = addressing.label(request.host) if addressing.label is not None else ""
            if label:
                path = f"/{quote(label)}{path if path != '/' else ''}"
            method = request.method
            if method == "OPTIONS":
                found = known.table.match("GET", path, "", {})
                return Route(known.name, known.protocol, "", found[1] if found else {})
            found = known.table.match(method, path, request.query, headers)
            if found is None:
                return Route(known.name, known.protocol)
            return Route(known.name, known.protocol, *found)
        if known.protocol in _QUERY or "query" in known.spoken:
            wire = known.protocol if known.protocol in _QUERY else "query"
            form = headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
            if known.protocol in _QUERY or form or "Action=" in request.query:
                return Route(known.name, wire)
        return Route(known.name, known.protocol)

    def _among(self, found: list[_RoutedService], request: WireRequest) -> Route:
        """Choose among services that share a signing name (apigateway, dynamodb …)."""
        target = request.headers.get("x-amz-target")
        if target is not None:
            known = self._by_target.get(target.rpartition(".")[0])
            if known in found:
                return self._within(known, request)
        first = None
        for known in found:
            route = self._within(known, request)
            if route.operation or route.action_in_body:
                return route
            first = first or route
        assert first is not None
        return first

    def _unsigned(self, request: WireRequest) -> Route:
        headers = request.headers
        target = headers.get("x-amz-target")
        if target is not None:
            known = self._by_target.get(target.rpartition(".")[0])
            if known is not None:
                return self._within(known, request)
            return Route("", "json", target.rpartition(".")[2])
        named = self._by_host.get(request.host.partition(".")[0])
        if named is not None and named is not self._otherwise and "." in request.host:
            return self._within(named, request)
        if request.path.startswith("/service/") and "smithy-protocol" in headers:
            for known in self._all:
                if known.target and request.path.startswith(f"/service/{known.target}/"):
                    return self._within(known, request)
            return Route("", RPC_CBOR, _rpc_operation(request.path))
        for known in self._all:
            if known.table is not None and known is not self._otherwise:
                found = known.table.match(request.method, request.path, request.query, headers)
                if found is not None and request.path != "/":
                    return Route(known.name, known.protocol, *found)
        if request.path == "/" and (
            (
                request.method == "POST"
                and headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
            )
            or request.query.startswith("Action=")
            or "&Action=" in request.query
        ):
            return Route("", "query")
        if self._otherwise is not None:
            return self._within(self._otherwise, request)
        return Route("", "rest-json")

    def _absent(self, request: WireRequest, scope: str) -> Route:
        """Route to a service that boda lacks, with as much of its operation as the request
        shows."""
        target = request.headers.get("x-amz-target")
        if target is not None:
            return Route("", "json", target.rpartition(".")[2], absent=scope)
        if "smithy-protocol" in request.headers:
            return Route("", RPC_CBOR, _rpc_operation(request.path), absent=scope)
        known = self._lacking.get(scope)
        wire = known.wire if known is not None else ""
        if request.path == "/" and (
            request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
            or "Action=" in request.query
        ):
            return Route("", wire if wire in _QUERY else "query", absent=scope)
        return Route("", wire if wire in _REST else "rest-json", absent=scope)


def _known(model: ServiceModel, offered: Iterable[str], addressing: Addressing) -> _RoutedService:
    metadata: Mapping[str, object] = model.metadata
    protocol = str(model.resolved_protocol)
    listed = metadata.get("protocols")
    spoken = {protocol, *(str(one) for one in listed)} if isinstance(listed, list) else {protocol}
    return _RoutedService(
        model.service_name,
        model,
        protocol,
        tuple(spoken),
        str(metadata.get("targetPrefix", "")),
        PathTable(model, offered, trailing_slash=addressing.trailing_slash)
        if protocol in _REST
        else None,
        addressing,
    )


def _field(pattern: re.Pattern[bytes], form: bytes) -> str:
    found = pattern.search(form)
    return unquote_plus(found[1].decode("utf-8", "replace")) if found else ""


def _rpc_operation(path: str) -> str:
    return path.rpartition("/operation/")[2] if "/operation/" in path else ""

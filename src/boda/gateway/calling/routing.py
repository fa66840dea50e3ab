"""Which service and which operation a request means.

In this order: the service that the signature is scoped to; ``X-Amz-Target``; the path of the
smithy RPC protocol; method and path of the REST services; ``Action=`` of the query protocol; and
S3, to which everything else belongs, by path or by host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, unquote_plus

from botocore.model import ServiceModel

from boda.gateway.calling.paths import Labels, PathTable
from boda.gateway.http.wire import WireRequest

_S3_CONTROL = "s3control"
_S3_CONTROL_PATH = "/v20180820/"
RPC_CBOR = "smithy-rpc-v2-cbor"
# Host suffixes under which buckets have host names of their own.
_BUCKET_DOMAINS = (".localhost.localstack.cloud", ".localhost", ".amazonaws.com")
_REST = ("rest-json", "rest-xml")
_QUERY = ("query", "ec2")
# Only these two fields are looked for: the others are parsed later, where it may take long.
_ACTION = re.compile(rb"(?:\A|[&\r\n])Action=([^&\r\n]{0,256})")
_VERSION = re.compile(rb"(?:\A|[&\r\n])Version=([^&\r\n]{0,64})")
# S3 apart, the REST services that speak XML: a request alone does not tell its protocol.
_IN_XML = frozenset({"cloudfront", "route53", _S3_CONTROL})


@dataclass(slots=True)
class Route:
    """What a request means, as far as it can be known before its body is read.

    service: botocore's name of an installed service; "" when boda lacks it or it is unknown.
    absent: the signing name of a service that boda lacks, else "".
    wire: the protocol the caller speaks. operation: "" when unknown, or still in the body.
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


@dataclass(slots=True)
class _Known:
    name: str
    model: ServiceModel
    protocol: str
    spoken: tuple[str, ...]
    target: str
    table: PathTable | None


class Router:
    """services: the installed ones' models and the names of the operations they have."""

    def __init__(
        self,
        services: Iterable[tuple[ServiceModel, Iterable[str]]],
    ) -> None:
        self._by_signing: dict[str, list[_Known]] = {}
        self._by_target: dict[str, _Known] = {}
        self._by_host: dict[str, _Known] = {}
        self._all: list[_Known] = []
        self._s3: _Known | None = None
        for model, offered in services:
            known = _known(model, offered)
            self._all.append(known)
            self._by_signing.setdefault(model.signing_name, []).append(known)
            self._by_host.setdefault(str(model.metadata.get("endpointPrefix", known.name)), known)
            if known.target:
                self._by_target[known.target] = known
            if known.name == "s3":
                self._s3 = known

    def route(self, request: WireRequest, scope: str | None) -> Route:
        """scope: the signing name in the credential scope; None for an unsigned request."""
        if scope is None:
            return self._unsigned(request)
        found = self._by_signing.get(scope)
        if found is None:
            return _absent(request, scope)
        if len(found) == 1:
            return self._within(found[0], request)
        return self._among(found, request)

    def action(self, service: str, body: bytes, query: str) -> tuple[str, str]:
        """Service and operation of a query-protocol request; "" for what cannot be told.

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

    def _within(self, known: _Known, request: WireRequest) -> Route:
        headers = request.headers
        if known.table is None or known is not self._s3:
            if headers.get("smithy-protocol") == "rpc-v2-cbor" and RPC_CBOR in known.spoken:
                return Route(known.name, RPC_CBOR, _rpc_operation(request.path))
            target = headers.get("x-amz-target")
            if target is not None and "json" in known.spoken:
                return Route(known.name, "json", target.rpartition(".")[2])
        if known.table is not None:
            path = request.path
            if known is self._s3:
                if path.startswith(_S3_CONTROL_PATH) and "x-amz-account-id" in headers:
                    # Signed as S3, and of another model.
                    return _absent(request, _S3_CONTROL)
                bucket = bucket_of_host(request.host)
                if bucket:
                    path = f"/{quote(bucket)}{path if path != '/' else ''}"
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

    def _among(self, found: list[_Known], request: WireRequest) -> Route:
        """Several services share a signing name (apigateway, dynamodb …)."""
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
        if named is not None and named is not self._s3 and "." in request.host:
            return self._within(named, request)
        if request.path.startswith("/service/") and "smithy-protocol" in headers:
            for known in self._all:
                if known.target and request.path.startswith(f"/service/{known.target}/"):
                    return self._within(known, request)
            return Route("", RPC_CBOR, _rpc_operation(request.path))
        for known in self._all:
            if known.table is not None and known is not self._s3:
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
        if self._s3 is not None:
            return self._within(self._s3, request)
        return Route("", "rest-json")


def _known(model: ServiceModel, offered: Iterable[str]) -> _Known:
    metadata: Mapping[str, object] = model.metadata
    protocol = str(model.resolved_protocol)
    listed = metadata.get("protocols")
    spoken = {protocol, *(str(one) for one in listed)} if isinstance(listed, list) else {protocol}
    return _Known(
        model.service_name,
        model,
        protocol,
        tuple(spoken),
        str(metadata.get("targetPrefix", "")),
        PathTable(model, offered, trailing_slash=model.service_name != "s3")
        if protocol in _REST
        else None,
    )


def bucket_of_host(host: str) -> str:
    """The bucket that a host name means, or "" for path style.

    ``<bucket>.s3.localhost``, ``<bucket>.s3.<region>.localhost``, ``<bucket>.localhost``. A
    label ``s3`` behind other labels marks a bucket under any suffix: its path holds a key,
    which must never be taken for a bucket.
    """
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    for domain in _BUCKET_DOMAINS:
        if name.endswith(domain):
            name = name[: -len(domain)]
            break
    else:
        return name.partition(".s3.")[0] if ".s3." in name else ""
    if name == "s3" or name.startswith(("s3.", "s3-")):
        return ""
    if name.endswith(".s3"):
        return name[:-3]
    bucket, dot, region = name.rpartition(".")
    if dot and bucket.endswith(".s3"):
        return bucket[:-3]
    if dot and region.startswith("s3-"):
        return bucket
    return name


def _absent(request: WireRequest, scope: str) -> Route:
    """A service that boda lacks: as much of its operation as the request itself tells."""
    target = request.headers.get("x-amz-target")
    if target is not None:
        return Route("", "json", target.rpartition(".")[2], absent=scope)
    if "smithy-protocol" in request.headers:
        return Route("", RPC_CBOR, _rpc_operation(request.path), absent=scope)
    if request.path == "/" and (
        request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
        or "Action=" in request.query
    ):
        return Route("", "ec2" if scope == "ec2" else "query", absent=scope)
    return Route("", "rest-xml" if scope in _IN_XML else "rest-json", absent=scope)


def _field(pattern: re.Pattern[bytes], form: bytes) -> str:
    found = pattern.search(form)
    return unquote_plus(found[1].decode("utf-8", "replace")) if found else ""


def _rpc_operation(path: str) -> str:
    return path.rpartition("/operation/")[2] if "/operation/" in path else ""

"""The facts about each installed operation that the gateway derives once from its model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError
from botocore.model import OperationModel, OperationNotFoundError

from boda.core.errors import not_implemented
from boda.gateway.asking.need import Need
from boda.gateway.calling.checksums import PREFIX
from boda.gateway.calling.fast_handler import OfferHandler
from boda.gateway.calling.models import Models
from boda.gateway.calling.pager import Pager, Seal
from boda.gateway.calling.routing import Offers
from boda.gateway.calling.service import Operation, Service, snake
from boda.gateway.dialect import Bodies, Dialect
from boda.gateway.http.limits import BodyRule, Limits
from boda.gateway.protocols import Protocol, bounds


class OperationFastPath(NamedTuple):
    """An operation's fast path. payload: the parameter that is the body. bound: the lower-case
    names of the headers that are parameters."""

    offer: OfferHandler
    payload: str
    bound: frozenset[str]


class OfferedOperation:
    """One operation of an installed service.

    operation: its implementation, or None if boda lacks it. names: handler keyword by member.
    settled: members that the gateway honours itself (checksums, lengths, tokens of pages), so that
    a handler which does not name them has not ignored them.
    pager: cuts its listing into pages, if it returns one.
    streams: its input is a streamed blob. checks: its model has checksums of the body.
    digest_required: it is refused without one.
    unsigned_payload: clients leave the body out of the signature. anybody: needs no signature.
    fast_path: its fast path, if it has one.
    in_body: the members that are not in the head. nameless: they are all of them, so that the head
    names no resource. parsed: the body is more than one blob as it is.
    bounds: of a body that is parsed.
    """

    __slots__ = (
        "anybody",
        "bounds",
        "checks",
        "digest_required",
        "fast_path",
        "in_body",
        "model",
        "name",
        "nameless",
        "names",
        "need",
        "operation",
        "pager",
        "parsed",
        "rule",
        "service",
        "settled",
        "streams",
        "unsigned_payload",
    )

    def __init__(
        self,
        service: Service,
        model: OperationModel,
        limits: Limits,
        dialect: Dialect,
        pager: Pager | None,
    ) -> None:
        self.service = service.name
        self.pager = pager
        self.name = model.name
        self.model = model
        self.operation: Operation | None = service.operations.get(model.name)
        bodies = dialect.bodies
        self.need = Need(f"{dialect.iam_prefix or model.service_model.signing_name}:{model.name}")
        self.rule = body_rule(bodies, model.name, limits)
        self.streams = _is_streamed(model)
        checksum = model.http_checksum or {}
        self.checks = (
            "requestAlgorithmMember" in checksum
            or bool(checksum.get("requestChecksumRequired"))
            or bool(model.http_checksum_required)
        )
        self.digest_required = model.name in bodies.digest_required
        self.unsigned_payload = (
            model.auth_type == "v4-unsigned-body" or model.unsigned_payload is True
        )
        self.anybody = model.auth_type == "none" or model.auth == ["smithy.api#noAuth"]
        self.names: Mapping[str, str] = {}
        self.settled: frozenset[str] = frozenset()
        shape = model.input_shape
        if self.operation is not None and shape is not None:
            accepts = self.operation.accepts
            self.names = {one: snake(one) for one in shape.members if snake(one) in accepts}
            self.settled = frozenset(self._settled(shape.members))
        self.fast_path = self._fast_path(service)
        self.in_body = _in_body(model)
        shape = model.input_shape
        self.nameless = shape is not None and len(self.in_body) == len(shape.members)
        self.parsed = bool(self.in_body) and not _is_blob(model)
        told = bodies.longest.get(model.name) or bodies.longest.get("")
        self.bounds = bounds.of_list(told) if told else bounds.of_operation(model)

    def _fast_path(self, service: Service) -> OperationFastPath | None:
        """Return the operation's fast path; None if it has none.

        Raises ValueError if the gateway does more for the operation than the fast path can.
        """
        shape, operation = self.model.input_shape, self.operation
        if operation is None or operation.fast_path is None or shape is None:
            return None
        if self.streams or self.checks or self.unsigned_payload or service.decorate is not None:
            raise ValueError(f"{self.service}:{self.name} cannot have a fast path")
        payload = str(shape.serialization.get("payload", ""))
        bound = set()
        for name, member in shape.members.items():
            where = member.serialization
            if where.get("location") == "headers" or (name == payload) != (
                member.type_name == "blob"
            ):
                raise ValueError(f"{self.service}:{self.name} cannot have a fast path")
            if where.get("location") == "header":
                bound.add(where.get("name", name).lower())
        return OperationFastPath(operation.fast_path, snake(payload), frozenset(bound))

    def _settled(self, members: Mapping[str, Any]) -> Iterable[str]:
        if self.pager is not None:
            yield from self.pager.honoured
        for name, member in members.items():
            where = member.serialization
            if where.get("location") != "header":
                continue
            header = where.get("name", name).lower()
            if header == "content-length" or (
                self.checks
                and (
                    header in ("content-md5", "x-amz-sdk-checksum-algorithm")
                    or header.startswith(PREFIX)
                )
            ):
                yield name

    def keywords(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the handler's keyword arguments. Raises AwsError 501 for a member that it does not
        take."""
        names = self.names
        try:
            return {names[member]: value for member, value in params.items()}
        except KeyError:
            pass
        keywords = {}
        for member, value in params.items():
            name = names.get(member)
            if name is not None:
                keywords[name] = value
            elif member not in self.settled:
                raise not_implemented(self.service, self.name, f"parameter {member}")
        return keywords


class InstalledService:
    """One installed service: its model, its operations as they are called, its protocols."""

    def __init__(self, service: Service, models: Models, limits: Limits, seal: Seal) -> None:
        self.name = service.name
        self.service = service
        self.dialect = models.dialect(service.name)
        self.model = models.service(service.name)
        self.validator = models.validator(service.name)
        self._models = models
        self._limits = limits
        self._seal = seal
        self._offered: dict[str, OfferedOperation] = {}
        self._protocols: dict[str, Protocol] = {}
        unknown = sorted(set(service.operations) - set(self.model.operation_names))
        if unknown:
            raise ValueError(f"{service.name} has no operation {', '.join(unknown)}")

    def offered(self, name: str) -> OfferedOperation | None:
        """Return an operation; None if the service has none of that name."""
        found = self._offered.get(name)
        if found is None:
            try:
                model = self.model.operation_model(name)
            except (OperationNotFoundError, BotoCoreError):
                return None
            found = self._offered[name] = OfferedOperation(
                self.service, model, self._limits, self.dialect, self._pager(model)
            )
        return found

    def _pager(self, model: OperationModel) -> Pager | None:
        operation, paging = self.service.operations.get(model.name), self.service.paging
        if operation is None or operation.paged is None or paging is None:
            return None
        paginator = self._models.paginator(self.name, model.name)
        return Pager(model, paginator, paging, operation.paged, self._seal)

    def protocol(self, wire: str) -> Protocol:
        found = self._protocols.get(wire)
        if found is None:
            found = self._protocols[wire] = self._models.protocol(self.name, wire)
        return found


def body_rule(bodies: Bodies, operation: str, limits: Limits) -> BodyRule:
    """Return the rule for a body that is held in memory."""
    rule = bodies.rules.get(operation)
    return rule or bodies.rule(operation, min(bodies.most, limits.body_bytes))


def offers_of(installed: Iterable[InstalledService]) -> list[Offers]:
    """Return the router's view of each service."""
    return [(one.model, list(one.service.operations), one.dialect.addressing) for one in installed]


def _in_body(model: OperationModel) -> frozenset[str]:
    """Return the members of an operation's input that stand in its body."""
    shape = model.input_shape
    if shape is None:
        return frozenset()
    rest = model.service_model.resolved_protocol in ("rest-json", "rest-xml")
    return frozenset(
        name
        for name, member in shape.members.items()
        if not (rest and member.serialization.get("location"))
    )


def _is_blob(model: OperationModel) -> bool:
    """Return whether the input's body is one blob, which is not parsed."""
    shape = model.input_shape
    payload = shape.serialization.get("payload") if shape is not None else None
    return bool(payload and shape.members[payload].type_name == "blob")


def _is_streamed(model: OperationModel) -> bool:
    """Return whether the input's payload has the streaming trait (S3's Body has, Lambda's Payload
    not).

    botocore's ``has_streaming_input`` is true of every payload that is a blob.
    """
    shape = model.input_shape
    payload = shape.serialization.get("payload") if shape is not None else None
    return bool(payload and shape.members[payload].serialization.get("streaming"))

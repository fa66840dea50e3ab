"""The contract of a protocol, and what all protocols share."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape

from boda.core.errors import AwsError
from boda.gateway.protocols.scalars import Malformed
from boda.gateway.wire import WireRequest, WireResponse

_MAX_INFLATED = 128 * 1024 * 1024

Headers = list[tuple[str, str]]


class Protocol(ABC):
    """One AWS protocol on the server's side, for one service.

    Everything it learns from the model is compiled at first use and kept in the instance.
    """

    name: str = ""

    def __init__(self, service: ServiceModel) -> None:
        self.service = service
        self._errors: dict[str, Shape] | None = None

    def parse(
        self,
        request: WireRequest,
        op: OperationModel,
        path_params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The request's parameters by the model's member names.

        Timestamps are aware datetimes in UTC, blobs bytes, a streaming blob the request's body
        as it is. Members the model does not know are ignored.

        path_params: the labels of the operation's request URI as they stand in the path, that
            is still percent-encoded; they are decoded here, once. Without them the path itself
            is matched against the request URI.

        Raises AwsError in AWS's form when the request cannot be read.
        """
        try:
            return self._parse(request, op, path_params)
        except Malformed as error:
            raise self.malformed(error) from None
        except RecursionError:
            raise self.malformed(Malformed("The request body is nested too deeply")) from None

    @abstractmethod
    def _parse(
        self, request: WireRequest, op: OperationModel, path_params: Mapping[str, str] | None
    ) -> dict[str, Any]: ...

    @abstractmethod
    def serialize(
        self,
        output: Mapping[str, Any],
        op: OperationModel,
        request_id: str,
        status: int | None = None,
    ) -> WireResponse:
        """The answer's members as HTTP.

        status: instead of the model's. A blob given as a Stream is sent as it is; an event
        stream is an async iterator of ``{"EventName": {members}}``.
        """

    @abstractmethod
    def serialize_error(
        self,
        error: AwsError,
        op: OperationModel | None,
        request_id: str,
        *,
        resource: str = "",
    ) -> WireResponse:
        """The error as the service would send it; op is None before one is known."""

    def malformed(self, error: Malformed) -> AwsError:
        return AwsError("SerializationException", error.reason)

    def error_shape(self, code: str) -> Shape | None:
        """The model's shape of an error, by its name or by its code on the wire."""
        if self._errors is None:
            by_code: dict[str, Shape] = {}
            for shape in self.service.error_shapes:
                by_code.setdefault(shape.metadata.get("error", {}).get("code", shape.name), shape)
            for shape in self.service.error_shapes:
                by_code[shape.name] = shape
            self._errors = by_code
        return self._errors.get(code)

    def request_id_headers(self, request_id: str) -> Headers:
        return [("x-amzn-RequestId", request_id)]


def whole_body(request: WireRequest, op: OperationModel) -> bytes:
    """The body of an operation whose input is not streamed, unpacked where clients may pack it.

    Raises Malformed.
    """
    body = request.body
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError(f"{op.name} takes its body whole, not as a stream")
    if (
        body
        and op.request_compression
        and request.headers.get("content-encoding", "").endswith("gzip")
    ):
        return _inflated(bytes(body))
    return bytes(body) if type(body) is not bytes else body


def wire_code(shape: Shape | None, code: str) -> str:
    """The code the wire carries: the model may name another one than the shape's name."""
    if shape is None:
        return code
    found: str = shape.metadata.get("error", {}).get("code", shape.name)
    return found


def query_error_header(service: ServiceModel, shape: Shape | None, error: AwsError) -> Headers:
    """What clients of a service that once spoke query read the error's old code from."""
    if not service.is_query_compatible:
        return []
    code = wire_code(shape, error.code)
    if shape is not None and code == shape.name:
        return []
    side = "Receiver" if error.fault == "server" else "Sender"
    return [("x-amzn-query-error", f"{code};{side}")]


def message_member(shape: Shape | None) -> str:
    """How the error's shape spells its message: ``message`` or ``Message``."""
    if shape is not None:
        for member in shape.members:
            if member.lower() == "message":
                return str(member)
    return "message"


def _inflated(body: bytes) -> bytes:
    machine = zlib.decompressobj(wbits=31)
    try:
        data = machine.decompress(body, _MAX_INFLATED)
    except zlib.error:
        raise Malformed("The request body is not valid gzip data") from None
    if machine.unconsumed_tail or not machine.eof:
        raise Malformed("The request body is not valid gzip data")
    return data

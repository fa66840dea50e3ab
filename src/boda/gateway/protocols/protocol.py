"""The contract of a protocol, and the code that all protocols share."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from botocore.model import OperationModel, ServiceModel, Shape

from boda.core.bounds import DEFAULT, Bounds
from boda.core.errors import AwsError, MalformedInput
from boda.gateway.http.wire import WireRequest, WireResponse
from boda.gateway.protocols.form import USUAL, WireForm

_MAX_INFLATED = 16 * 1024 * 1024
_PLAIN_TYPES = (str, int, float, bool, list, dict)

Headers = list[tuple[str, str]]


class ErrorNames(NamedTuple):
    """An error's shape, if the model has one, its shape's name and its code on the wire."""

    shape: Shape | None
    type: str
    code: str


class Protocol(ABC):
    """One AWS protocol on the server's side, for one service.

    Readers and writers are compiled from the model at first use and kept in the instance.
    """

    name: str = ""

    def __init__(self, service: ServiceModel, form: WireForm = USUAL) -> None:
        self.service = service
        self.form = form
        self._errors: dict[str, ErrorNames] | None = None

    def parse(
        self,
        request: WireRequest,
        op: OperationModel,
        path_params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the request's parameters by the model's member names: of its head and its body.

        Timestamps are aware datetimes in UTC, blobs bytes, a streaming blob the request's body as
        it is. Members the model does not have are ignored.
        Raises AwsError in AWS's form if the request cannot be read.
        """
        return {**self.parse_head(request, op, path_params), **self.parse_body(request, op)}

    def parse_head(
        self,
        request: WireRequest,
        op: OperationModel,
        path_params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the parameters in path, query string and headers. Raises AwsError.

        path_params: the labels of the operation's request URI as they stand in the path, still
        percent-encoded; they are decoded here, once. Without them the path itself is matched
        against the request URI.
        """
        try:
            return self._parse_head(request, op, path_params)
        except MalformedInput as error:
            raise self.malformed(error) from None

    def parse_body(
        self, request: WireRequest, op: OperationModel, bounds: Bounds = DEFAULT
    ) -> dict[str, Any]:
        """Return the parameters in the body, which has been read unless it is streamed.

        May be called in any thread. Raises AwsError.
        """
        try:
            return self._parse_body(request, op, bounds)
        except MalformedInput as error:
            raise self.malformed(error) from None
        except RecursionError:
            raise self.malformed(MalformedInput("The request body is nested too deeply")) from None

    @abstractmethod
    def prepare(self, op: OperationModel) -> object:
        """Compile the readers of ``parse_body``, once, and not in two threads at once."""

    def _parse_head(
        self, request: WireRequest, op: OperationModel, path_params: Mapping[str, str] | None
    ) -> dict[str, Any]:
        return {}

    @abstractmethod
    def _parse_body(
        self, request: WireRequest, op: OperationModel, bounds: Bounds
    ) -> dict[str, Any]: ...

    @abstractmethod
    def serialize(
        self,
        output: Mapping[str, Any],
        op: OperationModel,
        request_id: str,
        status: int | None = None,
    ) -> WireResponse:
        """Return the answer's members as HTTP.

        status: instead of the model's. A blob given as a Stream is sent as it is; an event stream
        is an async iterator of ``{"EventName": {members}}``.
        """

    @abstractmethod
    def serialize_error(
        self,
        error: AwsError,
        op: OperationModel | None,
        request_id: str,
    ) -> WireResponse:
        """Return the error as the service would send it; op is None if no operation is known."""

    def malformed(self, error: MalformedInput) -> AwsError:
        return AwsError("SerializationException", error.reason)

    def named(self, code: str) -> ErrorNames:
        """Find an error by its shape's name or by its code on the wire."""
        if self._errors is None:
            self._errors = self._name_errors()
        return self._errors.get(code) or ErrorNames(None, code, code)

    def _name_errors(self) -> dict[str, ErrorNames]:
        shapes = {shape.name: shape for shape in self.service.error_shapes}
        codes = {
            name: shape.metadata.get("error", {}).get("code", name)
            for name, shape in shapes.items()
        }
        codes.update(self.form.error_codes)
        named = {name: ErrorNames(shapes.get(name), name, code) for name, code in codes.items()}
        for name, code in codes.items():
            named.setdefault(code, named[name])
        return named

    def request_id_headers(self, request_id: str) -> Headers:
        return [("x-amzn-RequestId", request_id)]


def whole_body(request: WireRequest, op: OperationModel) -> bytes:
    """Return the body of an operation whose input is not streamed, decompressed if clients may
    compress it.

    Raises MalformedInput.
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


def query_error_header(service: ServiceModel, names: ErrorNames, error: AwsError) -> Headers:
    """Return the headers from which clients of a service that once had the query protocol read the
    error's old code."""
    if not service.is_query_compatible or (names.shape is not None and names.code == names.type):
        return []
    side = "Receiver" if error.fault == "server" else "Sender"
    return [("x-amzn-query-error", f"{names.code};{side}")]


def message_member(shape: Shape | None) -> str:
    """Return the name of the message in the error's shape: ``message`` or ``Message``."""
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
        raise MalformedInput("The request body is not valid gzip data") from None
    if machine.unconsumed_tail or not machine.eof:
        raise MalformedInput("The request body is not valid gzip data")
    return data


def error_members(
    error: AwsError,
    fields: Mapping[str, Any],
    shape: Shape | None,
    convert: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> dict[str, Any]:
    """Return an error's members as a document has them, including those that no shape describes.

    convert: converts the fields that the shape describes.
    """
    tree = convert(fields)
    if error.message:
        tree[message_member(shape)] = error.message
    known = shape.members if shape is not None else ()
    for name, value in fields.items():
        if name not in known and value is not None:
            tree[name] = value if isinstance(value, _PLAIN_TYPES) else str(value)
    return tree

"""Protocols that have one document for all of an input or an output: JSON's and CBOR's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from botocore.model import OperationModel, ServiceModel, Shape

from boda.core.bounds import DEFAULT, Bounds
from boda.core.errors import AwsError
from boda.gateway.http.wire import Stream, WireRequest, WireResponse
from boda.gateway.protocols import event_stream
from boda.gateway.protocols.event_codec import EventCodec
from boda.gateway.protocols.form import USUAL, WireForm
from boda.gateway.protocols.protocol import (
    ErrorNames,
    Headers,
    Protocol,
    error_members,
    query_error_header,
    whole_body,
)
from boda.gateway.protocols.tree import Convert, TreeReader, TreeWriter


class Rpc(Protocol):
    """content_type: of documents. types_nothing: an answer without a document has it, too."""

    content_type: str
    types_nothing: ClassVar[bool] = True

    def __init__(
        self,
        service: ServiceModel,
        reader: TreeReader,
        writer: TreeWriter,
        event_type: str,
        form: WireForm = USUAL,
    ) -> None:
        """event_type: the content type of the events in streams."""
        super().__init__(service, form)
        self._reader = reader
        self._writer = writer
        self._inputs: dict[str, Convert] = {}
        self._outputs: dict[str, Convert] = {}
        self.events = EventCodec(event_type, self._encode_event, self._decode_event)

    @abstractmethod
    def encode(self, tree: Any) -> bytes:
        """Write a document."""

    @abstractmethod
    def decode(self, body: bytes, convert: Convert, bounds: Bounds = DEFAULT) -> dict[str, Any]:
        """Read a document and convert it. Raises MalformedInput."""

    @abstractmethod
    def error_type(self, names: ErrorNames) -> str:
        """Return the type of the error as its document states it."""

    def prepare(self, op: OperationModel) -> Convert:
        convert = self._inputs.get(op.name)
        if convert is None:
            members = op.input_shape.members.items() if op.input_shape is not None else ()
            convert = self._inputs[op.name] = self._reader.members(members)
        return convert

    def _parse_body(
        self, request: WireRequest, op: OperationModel, bounds: Bounds
    ) -> dict[str, Any]:
        shape = op.input_shape
        if shape is None:
            return {}
        stream = op.get_event_stream_input()
        if stream is not None:
            return {shape.event_stream_name: self.events.events(request.body, stream)}
        body = whole_body(request, op)
        return self.decode(body, self.prepare(op), bounds) if body else {}

    def serialize(
        self,
        output: Mapping[str, Any],
        op: OperationModel,
        request_id: str,
        status: int | None = None,
    ) -> WireResponse:
        status = 200 if status is None else status
        headers = self.request_id_headers(request_id)
        shape = op.output_shape
        if shape is None:
            return WireResponse(status, self._typed(headers) if self.types_nothing else headers)
        convert = self._outputs.get(op.name)
        if convert is None:
            convert = self._outputs[op.name] = self._writer.members(
                (name, part)
                for name, part in shape.members.items()
                if not part.serialization.get("eventstream")
            )
        answer = self.encode(convert(output))
        stream = op.get_event_stream_output()
        if stream is None:
            return WireResponse(status, self._typed(headers), answer)
        headers.append(("Content-Type", event_stream.CONTENT_TYPE))
        events = output.get(shape.event_stream_name)
        if events is None:
            return WireResponse(status, headers)
        return WireResponse(status, headers, Stream(self.events.messages(events, stream, answer)))

    def serialize_error(
        self,
        error: AwsError,
        op: OperationModel | None,
        request_id: str,
    ) -> WireResponse:
        names = self.named(error.code)
        members = names.shape.members.items() if names.shape is not None else ()
        tree = {
            "__type": self.error_type(names),
            **error_members(error, error.fields, names.shape, self._writer.members(members)),
        }
        headers = self.request_id_headers(request_id)
        headers.extend(query_error_header(self.service, names, error))
        headers.extend(error.headers.items())
        return WireResponse(error.status, self._typed(headers), self.encode(tree))

    def _typed(self, headers: Headers) -> Headers:
        headers.append(("Content-Type", self.content_type))
        return headers

    def _encode_event(self, shape: Shape, value: Mapping[str, Any], members: list[str]) -> bytes:
        convert = self._writer.members((name, shape.members[name]) for name in members)
        return self.encode(convert(value))

    def _decode_event(self, shape: Shape, body: bytes) -> dict[str, Any]:
        return self.decode(body, self._reader.members(shape.members.items()))

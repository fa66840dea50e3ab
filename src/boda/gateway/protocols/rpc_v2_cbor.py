"""smithy-rpc-v2-cbor: CloudWatch and newer services.

https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape

from boda.core.bounds import Bounds
from boda.core.errors import AwsError
from boda.gateway.http.wire import Stream, WireRequest, WireResponse
from boda.gateway.protocols import cbor_values, event_stream
from boda.gateway.protocols.cbor_values import CborReader, CborWriter
from boda.gateway.protocols.events import EventCodec
from boda.gateway.protocols.form import USUAL, WireForm
from boda.gateway.protocols.protocol import (
    Headers,
    Protocol,
    message_member,
    query_error_header,
    whole_body,
)
from boda.gateway.protocols.rest_json import plain

_CONTENT_TYPE = "application/cbor"


class RpcV2Cbor(Protocol):
    name = "smithy-rpc-v2-cbor"

    def __init__(self, service: ServiceModel, form: WireForm = USUAL) -> None:
        super().__init__(service, form)
        self._reader = CborReader()
        self._writer = CborWriter()
        self._inputs: dict[str, Callable[[Any], Any]] = {}
        self._outputs: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {}
        self.events = EventCodec(_CONTENT_TYPE, self._encode_event, self._decode_event)

    def request_id_headers(self, request_id: str) -> Headers:
        return [("x-amzn-RequestId", request_id), ("smithy-protocol", "rpc-v2-cbor")]

    def prepare(self, op: OperationModel) -> Callable[[Any], Any]:
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
        if not body:
            return {}
        convert = self.prepare(op)
        params: dict[str, Any] = convert(cbor_values.decode(body, bounds))
        return params

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
            return WireResponse(status, headers, b"")
        convert = self._outputs.get(op.name)
        if convert is None:
            convert = self._outputs[op.name] = self._writer.members(
                (name, part)
                for name, part in shape.members.items()
                if not part.serialization.get("eventstream")
            )
        answer = cbor_values.encode(convert(output))
        stream = op.get_event_stream_output()
        if stream is None:
            headers.append(("Content-Type", _CONTENT_TYPE))
            return WireResponse(status, headers, answer)
        headers.append(("Content-Type", event_stream.CONTENT_TYPE))
        events = output.get(shape.event_stream_name)
        if events is None:
            return WireResponse(status, headers, b"")
        return WireResponse(status, headers, Stream(self.events.messages(events, stream, answer)))

    def serialize_error(
        self,
        error: AwsError,
        op: OperationModel | None,
        request_id: str,
    ) -> WireResponse:
        names = self.named(error.code)
        shape, code = names.shape, names.type
        tree: dict[str, Any] = {"__type": f"com.amazonaws.{self.service.endpoint_prefix}#{code}"}
        values = dict(error.fields)
        if shape is not None:
            tree.update(self._writer.members(shape.members.items())(values))
            for member in shape.members:
                values.pop(member, None)
        if error.message:
            tree[message_member(shape)] = error.message
        tree.update(plain(values))
        headers = self.request_id_headers(request_id)
        headers.extend(query_error_header(self.service, names, error))
        headers.extend(error.headers.items())
        headers.append(("Content-Type", _CONTENT_TYPE))
        return WireResponse(error.status, headers, cbor_values.encode(tree))

    def _encode_event(self, shape: Shape, value: Mapping[str, Any], members: list[str]) -> bytes:
        convert = self._writer.members((name, shape.members[name]) for name in members)
        return cbor_values.encode(convert(value))

    def _decode_event(self, shape: Shape, body: bytes) -> dict[str, Any]:
        convert = self._reader.members(shape.members.items())
        value: dict[str, Any] = convert(cbor_values.decode(body))
        return value

"""json 1.0 and 1.1: DynamoDB, CloudWatch Logs, EventBridge, Kinesis, SQS …

https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape

from boda.core.bounds import Bounds
from boda.core.errors import AwsError
from boda.gateway.http.wire import Stream, WireRequest, WireResponse
from boda.gateway.protocols import event_stream, json_values
from boda.gateway.protocols.events import EventCodec
from boda.gateway.protocols.form import USUAL, WireForm
from boda.gateway.protocols.json_values import JsonReader, JsonWriter
from boda.gateway.protocols.protocol import (
    Protocol,
    message_member,
    query_error_header,
    whole_body,
)
from boda.gateway.protocols.rest_json import plain


class JsonRpc(Protocol):
    name = "json"

    def __init__(self, service: ServiceModel, form: WireForm = USUAL) -> None:
        super().__init__(service, form)
        self.version = str(service.metadata.get("jsonVersion", "1.0"))
        self.content_type = f"application/x-amz-json-{self.version}"
        self._reader = JsonReader()
        self._writer = JsonWriter()
        self._inputs: dict[str, Callable[[Any], Any] | None] = {}
        self._outputs: dict[str, Callable[[Mapping[str, Any]], bytes] | None] = {}
        self.events = EventCodec("application/json", self._encode_event, self._decode_event)

    def prepare(self, op: OperationModel) -> Callable[[Any], Any] | None:
        try:
            return self._inputs[op.name]
        except KeyError:
            shape = op.input_shape
            convert = None if shape is None else self._reader.members(shape.members.items())
            self._inputs[op.name] = convert
            return convert

    def _parse_body(
        self, request: WireRequest, op: OperationModel, bounds: Bounds
    ) -> dict[str, Any]:
        convert = self.prepare(op)
        stream = op.get_event_stream_input()
        if stream is not None:
            return {op.input_shape.event_stream_name: self.events.events(request.body, stream)}
        body = whole_body(request, op)
        if convert is None or not body:
            return {}
        params: dict[str, Any] = json_values.read(body, convert, bounds)
        return params

    def serialize(
        self,
        output: Mapping[str, Any],
        op: OperationModel,
        request_id: str,
        status: int | None = None,
    ) -> WireResponse:
        try:
            write = self._outputs[op.name]
        except KeyError:
            write = self._outputs[op.name] = self._plan_output(op)
        headers = self.request_id_headers(request_id)
        stream = op.get_event_stream_output()
        if stream is not None:
            headers.append(("Content-Type", event_stream.CONTENT_TYPE))
            initial = write(output) if write is not None else b"{}"
            events = output.get(op.output_shape.event_stream_name)
            body: bytes | Stream = b""
            if events is not None:
                body = Stream(self.events.messages(events, stream, initial))
            return WireResponse(200 if status is None else status, headers, body)
        headers.append(("Content-Type", self.content_type))
        answer = write(output) if write is not None else b""
        return WireResponse(200 if status is None else status, headers, answer)

    def serialize_error(
        self,
        error: AwsError,
        op: OperationModel | None,
        request_id: str,
    ) -> WireResponse:
        names = self.named(error.code)
        shape, code = names.shape, names.type
        if self.version == "1.0":
            # 1.0 services name the shape in full, 1.1 services by its last part; clients of
            # either read what follows the #.
            code = f"com.amazonaws.{self.service.endpoint_prefix}#{code}"
        tree: dict[str, Any] = {"__type": code}
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
        headers.append(("Content-Type", self.content_type))
        return WireResponse(error.status, headers, json_values.encode(tree))

    def _plan_output(self, op: OperationModel) -> Callable[[Mapping[str, Any]], bytes] | None:
        shape = op.output_shape
        if shape is None:
            return None
        members = [
            (name, part)
            for name, part in shape.members.items()
            if not part.serialization.get("eventstream")
        ]
        convert = self._writer.members(members)
        return lambda output: json_values.encode(convert(output))

    def _encode_event(self, shape: Shape, value: Mapping[str, Any], members: list[str]) -> bytes:
        convert = self._writer.members((name, shape.members[name]) for name in members)
        return json_values.encode(convert(value))

    def _decode_event(self, shape: Shape, body: bytes) -> dict[str, Any]:
        value: dict[str, Any] = json_values.read(body, self._reader.members(shape.members.items()))
        return value

"""rest-xml: S3 (in its own dialect, see s3), CloudFront, Route 53.

https://smithy.io/2.0/aws/protocols/aws-restxml-protocol.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape

from boda.core.bounds import Bounds
from boda.core.errors import AwsError, MalformedInput
from boda.gateway.http.wire import WireResponse
from boda.gateway.protocols import xml_values
from boda.gateway.protocols.form import USUAL, WireForm
from boda.gateway.protocols.protocol import ErrorNames
from boda.gateway.protocols.query import error_elements
from boda.gateway.protocols.rest import (
    InputPlan,
    OutputPlan,
    ReadBody,
    Rest,
    plan_members,
    write_headers,
)
from boda.gateway.protocols.xml_values import Node, XmlReader, XmlWriter, escape

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'


class RestXml(Rest):
    name = "rest-xml"
    content_type = "application/xml"
    millis = False

    def __init__(self, service: ServiceModel, form: WireForm = USUAL) -> None:
        self._reader = XmlReader()
        self._writer = XmlWriter(millis=self.millis)
        super().__init__(service, form)

    def malformed(self, error: MalformedInput) -> AwsError:
        return AwsError("MalformedInput", error.reason)

    def root_name(self, op: OperationModel, plan: OutputPlan) -> str:
        """Return the name of the answer's root element."""
        shape = plan.payload_shape or op.output_shape
        told = shape.serialization.get("name", plan.payload)
        if plan.payload and told != plan.payload:
            return str(told)
        return str(xml_values.own_traits(shape).get("name", shape.name))

    def root_namespace(self, shape: Shape) -> str:
        space = shape.serialization.get("xmlNamespace") or self.service.metadata.get("xmlNamespace")
        return xml_values.namespace_attribute(space) if space else ""

    def check_root(self, root: Node, op: OperationModel, plan: InputPlan) -> None:
        """Raise MalformedInput if the document is of another kind than the operation's."""

    def body_reader(self, op: OperationModel, plan: InputPlan) -> ReadBody | None:
        if plan.payload_shape is not None:
            convert = self._reader.reader(plan.payload_shape)
        elif plan.body:
            convert = self._reader.members(plan.body)
        else:
            return None

        def read(body: bytes, bounds: Bounds) -> Any:
            root = xml_values.parse(body, bounds)
            self.check_root(root, op, plan)
            return convert(root)

        return read

    def body_writer(self, op: OperationModel, plan: OutputPlan) -> Callable[[Any], bytes] | None:
        shape = plan.payload_shape
        if shape is None and not plan.body:
            return None
        name = self.root_name(op, plan)
        if shape is None:
            write = self._writer.members(plan.body)
            attributes = [
                (member, part.serialization.get("name", member), xml_values.text_writer(part))
                for member, part in plan.body
                if part.serialization.get("xmlAttribute")
            ]
            space = self.root_namespace(op.output_shape)

            def whole(value: Any) -> bytes:
                head = "".join(
                    f' {attribute}="{escape(convert(value[member]))}"'
                    for member, attribute, convert in attributes
                    if value.get(member) is not None
                )
                parts = [_DECLARATION, f"<{name}{space}{head}>"]
                write(parts, value)
                parts.append(f"</{name}>")
                return "".join(parts).encode("utf-8", "replace")

            return whole
        emit = self._writer.writer(shape)
        space = "" if shape.serialization.get("xmlNamespace") else self.root_namespace(shape)

        def payload(value: Any) -> bytes:
            parts = [_DECLARATION]
            emit(parts, name, value)
            # The writer of a nested shape has no document namespace: the root gets it here.
            parts[1] = parts[1].replace(f"<{name}", f"<{name}{space}", 1)
            return "".join(parts).encode("utf-8", "replace")

        return payload

    def encode_event(self, shape: Shape, value: Mapping[str, Any], members: list[str]) -> bytes:
        name = shape.serialization.get("name", shape.name)
        parts = [f"<{name}>"]
        self._writer.members((one, shape.members[one]) for one in members)(parts, value)
        parts.append(f"</{name}>")
        return "".join(parts).encode("utf-8", "replace")

    def decode_event(self, shape: Shape, body: bytes) -> dict[str, Any]:
        value: dict[str, Any] = self._reader.members(shape.members.items())(xml_values.parse(body))
        return value

    def serialize_error(
        self,
        error: AwsError,
        op: OperationModel | None,
        request_id: str,
    ) -> WireResponse:
        names = self.named(error.code)
        shape = names.shape
        headers = self.request_id_headers(request_id)
        if shape is not None:
            plan = OutputPlan()
            plan_members(plan, shape)
            write_headers(plan, error.fields, headers)
        headers.extend(error.headers.items())
        if (op is not None and op.http.get("method") == "HEAD") or error.status == 304:
            return WireResponse(error.status, headers, b"")
        headers.append(("Content-Type", self.content_type))
        body = _DECLARATION + self.error_document(error, names, request_id)
        return WireResponse(error.status, headers, body.encode("utf-8", "replace"))

    def error_document(self, error: AwsError, names: ErrorNames, request_id: str) -> str:
        kind = "Receiver" if error.fault == "server" else "Sender"
        uri = self.service.metadata.get("xmlNamespace", "")
        space = f' xmlns="{escape(uri)}"' if uri else ""
        return (
            f"<ErrorResponse{space}><Error><Type>{kind}</Type>"
            f"{error_elements(error, names, self._writer)}</Error>"
            f"<RequestId>{escape(request_id)}</RequestId></ErrorResponse>"
        )

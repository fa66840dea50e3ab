"""query and ec2: IAM, STS, SNS, CloudFormation …

https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import OperationModel, ServiceModel

from boda.core.bounds import Bounds
from boda.core.errors import AwsError, MalformedInput
from boda.gateway.http.wire import WireRequest, WireResponse
from boda.gateway.protocols import form_values
from boda.gateway.protocols.form import USUAL, WireForm
from boda.gateway.protocols.form_values import Ec2FormReader, FormNode, FormReader
from boda.gateway.protocols.protocol import ErrorNames, Protocol, whole_body
from boda.gateway.protocols.xml_values import XmlWriter, escape

WriteMembers = Callable[[list[str], Any], None]


class Query(Protocol):
    name = "query"
    content_type = "text/xml"

    def __init__(self, service: ServiceModel, form: WireForm = USUAL) -> None:
        super().__init__(service, form)
        self._reader = self._make_reader()
        self._writer = XmlWriter()
        self._inputs: dict[str, Callable[[FormNode], Any]] = {}
        self._outputs: dict[str, WriteMembers | None] = {}

    def _make_reader(self) -> FormReader:
        return FormReader()

    def malformed(self, error: MalformedInput) -> AwsError:
        where = f" at '{error.place}'" if error.place else ""
        return AwsError("MalformedInput", error.reason + where)

    def prepare(self, op: OperationModel) -> Callable[[FormNode], Any]:
        convert = self._inputs.get(op.name)
        if convert is None:
            members = op.input_shape.members.items() if op.input_shape is not None else ()
            convert = self._inputs[op.name] = self._reader.members(members)
        return convert

    def _parse_body(
        self, request: WireRequest, op: OperationModel, bounds: Bounds
    ) -> dict[str, Any]:
        if op.input_shape is None:
            return {}
        convert = self.prepare(op)
        try:
            text = whole_body(request, op).decode()
        except UnicodeDecodeError:
            raise MalformedInput("The request's parameters are not UTF-8") from None
        fields = form_values.pairs(request.query, bounds)
        fields += form_values.pairs(text.strip("\r\n"), bounds)
        params: dict[str, Any] = convert(form_values.tree(fields, bounds))
        return params

    def serialize(
        self,
        output: Mapping[str, Any],
        op: OperationModel,
        request_id: str,
        status: int | None = None,
    ) -> WireResponse:
        parts = ['<?xml version="1.0"?>\n', f"<{op.wire_name}Response{self._namespace()}>"]
        self._write_result(parts, output, op, request_id)
        parts.append(f"</{op.wire_name}Response>")
        headers = self.request_id_headers(request_id)
        headers.append(("Content-Type", self.content_type))
        body = "".join(parts).encode("utf-8", "replace")
        return WireResponse(200 if status is None else status, headers, body)

    def _write_result(
        self, parts: list[str], output: Mapping[str, Any], op: OperationModel, request_id: str
    ) -> None:
        write = self._members_writer(op)
        if write is not None:
            wrapper = op.output_shape.serialization.get("resultWrapper", f"{op.wire_name}Result")
            parts.append(f"<{wrapper}>")
            write(parts, output)
            parts.append(f"</{wrapper}>")
        parts.append(
            f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata>"
        )

    def _members_writer(self, op: OperationModel) -> WriteMembers | None:
        try:
            return self._outputs[op.name]
        except KeyError:
            shape = op.output_shape
            write = None if shape is None else self._writer.members(shape.members.items())
            self._outputs[op.name] = write
            return write

    def serialize_error(
        self,
        error: AwsError,
        op: OperationModel | None,
        request_id: str,
    ) -> WireResponse:
        headers = self.request_id_headers(request_id)
        headers.extend(error.headers.items())
        headers.append(("Content-Type", self.content_type))
        body = self._error_document(error, self.named(error.code), request_id)
        return WireResponse(error.status, headers, body.encode("utf-8", "replace"))

    def _error_document(self, error: AwsError, names: ErrorNames, request_id: str) -> str:
        kind = "Receiver" if error.fault == "server" else "Sender"
        return (
            f"<ErrorResponse{self._namespace()}><Error><Type>{kind}</Type>"
            f"{error_elements(error, names, self._writer)}</Error>"
            f"<RequestId>{escape(request_id)}</RequestId></ErrorResponse>"
        )

    def _namespace(self) -> str:
        uri = self.service.metadata.get("xmlNamespace", "")
        return f' xmlns="{escape(uri)}"' if uri else ""


class Ec2(Query):
    """EC2's dialect: flat lists, no result element, errors in a list."""

    name = "ec2"
    content_type = "text/xml;charset=UTF-8"

    def _make_reader(self) -> FormReader:
        return Ec2FormReader()

    def _write_result(
        self, parts: list[str], output: Mapping[str, Any], op: OperationModel, request_id: str
    ) -> None:
        parts.append(f"<requestId>{escape(request_id)}</requestId>")
        write = self._members_writer(op)
        if write is not None:
            write(parts, output)

    def _error_document(self, error: AwsError, names: ErrorNames, request_id: str) -> str:
        return (
            f"<Response><Errors><Error>{error_elements(error, names, self._writer)}</Error>"
            f"</Errors><RequestID>{escape(request_id)}</RequestID></Response>"
        )


def error_elements(error: AwsError, names: ErrorNames, writer: XmlWriter) -> str:
    """Return code, message and further members of an error, as elements."""
    parts = [f"<Code>{escape(names.code)}</Code>"]
    if error.message:
        parts.append(f"<Message>{escape(error.message)}</Message>")
    fields = {
        name: value
        for name, value in error.fields.items()
        if value is not None and name.lower() not in ("code", "message")
    }
    shape = names.shape
    if shape is not None:
        members = [
            (name, part)
            for name, part in shape.members.items()
            if name in fields and not part.serialization.get("location")
        ]
        writer.members(members)(parts, fields)
        for name in shape.members:
            fields.pop(name, None)
    parts.extend(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())
    return "".join(parts)

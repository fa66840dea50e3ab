"""The HTTP bindings that rest-json and rest-xml share: path, query string, headers, payload."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, unquote_plus

from botocore.model import OperationModel, ServiceModel, Shape

from boda.core.bounds import Bounds
from boda.core.errors import MalformedInput
from boda.gateway.http.wire import Stream, WireRequest, WireResponse
from boda.gateway.protocols import event_stream
from boda.gateway.protocols.event_codec import EventCodec
from boda.gateway.protocols.form import USUAL, WireForm
from boda.gateway.protocols.json_values import encode
from boda.gateway.protocols.protocol import Headers, Protocol, whole_body
from boda.gateway.protocols.scalars import blob_from_text, blob_to_text
from boda.gateway.protocols.xml_values import ReadText, text_reader, text_writer

_BODILESS = (204, 304)
_LABEL = re.compile(r"\{(\w+)(\+?)\}")

WriteText = Callable[[Any], str]
ReadBody = Callable[[bytes, Bounds], Any]


@dataclass(slots=True)
class InputPlan:
    """The source of each parameter of an operation, compiled."""

    labels: list[tuple[str, str, ReadText]] = field(default_factory=list)
    query: dict[str, tuple[str, ReadText, bool]] = field(default_factory=dict)
    query_map: tuple[str, bool] | None = None
    literals: frozenset[str] = frozenset()
    headers: dict[str, tuple[int, str, ReadText]] = field(default_factory=dict)
    """By lower-case name: its index among the model's members, the member, the reader."""
    prefixed: list[tuple[str, str]] = field(default_factory=list)
    payload: str = ""
    payload_shape: Shape | None = None
    body: list[tuple[str, Shape]] = field(default_factory=list)
    read_body: ReadBody | None = None
    path: re.Pattern[str] | None = None


@dataclass(slots=True)
class OutputPlan:
    """The destination of each member of an output, or of an error."""

    status: int = 200
    status_member: str = ""
    headers: dict[str, tuple[str, WriteText]] = field(default_factory=dict)
    """By member: the header's name and the writer."""
    prefixed: list[tuple[str, str]] = field(default_factory=list)
    payload: str = ""
    payload_shape: Shape | None = None
    body: list[tuple[str, Shape]] = field(default_factory=list)
    write_body: Callable[[Any], bytes] | None = None
    content_type_member: str = ""


class Rest(Protocol):
    """rest-json and rest-xml, apart from their bodies."""

    content_type = ""

    def __init__(self, service: ServiceModel, form: WireForm = USUAL) -> None:
        super().__init__(service, form)
        self._inputs: dict[str, InputPlan] = {}
        self._outputs: dict[str, OutputPlan] = {}
        self.events = EventCodec(self.content_type, self.encode_event, self.decode_event)

    # the differences between the two

    @abstractmethod
    def body_reader(self, op: OperationModel, plan: InputPlan) -> ReadBody | None:
        """Return a function that reads the body into the payload member's value, or into the
        members in it."""

    @abstractmethod
    def body_writer(self, op: OperationModel, plan: OutputPlan) -> Callable[[Any], bytes] | None:
        """Return a function that writes the payload member's value, or the members in the body;
        None for no body."""

    @abstractmethod
    def encode_event(self, shape: Shape, value: Mapping[str, Any], members: list[str]) -> bytes: ...

    @abstractmethod
    def decode_event(self, shape: Shape, body: bytes) -> dict[str, Any]: ...

    def default_blob_type(self, op: OperationModel) -> str:
        return self.form.blob_types.get(op.name, "application/octet-stream")

    # requests

    def prepare(self, op: OperationModel) -> InputPlan:
        plan = self._inputs.get(op.name)
        if plan is None:
            plan = self._inputs[op.name] = self._plan_input(op)
        return plan

    def _parse_head(
        self, request: WireRequest, op: OperationModel, path_params: Mapping[str, str] | None
    ) -> dict[str, Any]:
        plan = self.prepare(op)
        params: dict[str, Any] = {}
        if plan.labels:
            self._read_labels(plan, request, op, path_params, params)
        if request.query and (plan.query or plan.query_map):
            self._read_query(plan, request.query, params)
        headers = request.headers
        # A request has few of the headers in a model (GetObject's has some forty).
        known = plan.headers.keys() & headers.keys()
        for name in sorted(known, key=plan.headers.__getitem__) if len(known) > 1 else known:
            _, member, convert = plan.headers[name]
            self._read_header(params, member, name, convert, headers[name])
        for member, prefix in plan.prefixed:
            found = {
                name[len(prefix) :]: text
                for name, text in headers.items()
                if name.startswith(prefix) and len(name) > len(prefix)
            }
            if found or not prefix:
                params[member] = found
        return params

    def _parse_body(
        self, request: WireRequest, op: OperationModel, bounds: Bounds
    ) -> dict[str, Any]:
        plan = self.prepare(op)
        params: dict[str, Any] = {}
        if plan.payload or plan.read_body is not None:
            self._read_body(plan, request, op, params, bounds)
        return params

    def _read_labels(
        self,
        plan: InputPlan,
        request: WireRequest,
        op: OperationModel,
        path_params: Mapping[str, str] | None,
        params: dict[str, Any],
    ) -> None:
        if path_params is None:
            match = plan.path.match(request.path) if plan.path is not None else None
            path_params = match.groupdict() if match else {}
        for member, label, convert in plan.labels:
            raw = path_params.get(label)
            if raw is None:
                continue
            if "%" in raw:
                try:
                    raw = unquote(raw, errors="strict")
                except UnicodeDecodeError:
                    raise MalformedInput(
                        "The request's path is not UTF-8", label, where="path"
                    ) from None
            params[member] = _placed(convert, raw, label)

    def _read_query(self, plan: InputPlan, query: str, params: dict[str, Any]) -> None:
        found: dict[str, list[str]] = {}
        for part in query.split("&"):
            if not part:
                continue
            raw_name, _, raw_value = part.partition("=")
            try:
                name = unquote_plus(raw_name, errors="strict")
                value = unquote_plus(raw_value, errors="strict")
            except UnicodeDecodeError:
                raise MalformedInput(
                    "The request's query string is not UTF-8", where="query"
                ) from None
            known = plan.query.get(name)
            if known is not None:
                member, convert, many = known
                if many:
                    params.setdefault(member, []).append(_placed(convert, value, name))
                elif member not in params:
                    params[member] = self.query_value(convert, value, name)
            if plan.query_map is not None and name not in plan.literals:
                found.setdefault(name, []).append(value)
        if plan.query_map is not None:
            # A server's map has every parameter, those bound by name as well.
            member, many = plan.query_map
            params[member] = found if many else {name: texts[0] for name, texts in found.items()}

    def query_value(self, convert: ReadText, text: str, name: str) -> Any:
        return _placed(convert, text, name)

    def _read_header(
        self, params: dict[str, Any], member: str, name: str, convert: ReadText, text: str
    ) -> None:
        params[member] = _placed(convert, text, name)

    def _read_body(
        self,
        plan: InputPlan,
        request: WireRequest,
        op: OperationModel,
        params: dict[str, Any],
        bounds: Bounds,
    ) -> None:
        shape = plan.payload_shape
        if shape is not None:
            if shape.serialization.get("eventstream"):
                params[plan.payload] = self.events.events(request.body, shape)
                return
            if shape.type_name == "blob" and (
                shape.serialization.get("streaming") or not isinstance(request.body, bytes)
            ):
                params[plan.payload] = request.body
                return
        body = whole_body(request, op)
        if not body:
            if _is_text(shape):
                params[plan.payload] = ""
            return
        if shape is None:
            if plan.read_body is not None:
                params.update(plan.read_body(body, bounds))
        elif shape.type_name == "blob":
            params[plan.payload] = body
        elif _is_text(shape):
            params[plan.payload] = _utf8(body)
        elif plan.read_body is not None:
            params[plan.payload] = plan.read_body(body, bounds)

    def _plan_input(self, op: OperationModel) -> InputPlan:
        plan = InputPlan()
        shape = op.input_shape
        if shape is None:
            return plan
        fixed = op.http.get("requestUri", "/").partition("?")[2]
        plan.literals = frozenset(one.partition("=")[0] for one in fixed.split("&") if one)
        plan.payload = shape.serialization.get("payload", "")
        for member, part in shape.members.items():
            place = part.serialization.get("location")
            name = part.serialization.get("name", member)
            if place == "uri":
                plan.labels.append((member, name, text_reader(part)))
            elif place == "querystring":
                self._plan_query(plan, member, name, part)
            elif place == "header":
                plan.headers[name.lower()] = (len(plan.headers), member, header_reader(part))
            elif place == "headers":
                plan.prefixed.append((member, part.serialization.get("name", "").lower()))
            elif member == plan.payload:
                plan.payload_shape = part
            else:
                plan.body.append((member, part))
        plan.path = _path_pattern(op.http.get("requestUri", "/")) if plan.labels else None
        plan.read_body = self.body_reader(op, plan)
        return plan

    def _plan_query(self, plan: InputPlan, member: str, name: str, part: Shape) -> None:
        if part.type_name == "map":
            plan.query_map = (member, part.value.type_name == "list")
        elif part.type_name == "list":
            plan.query[name] = (member, text_reader(part.member), True)
        else:
            plan.query[name] = (member, text_reader(part), False)

    # answers

    def serialize(
        self,
        output: Mapping[str, Any],
        op: OperationModel,
        request_id: str,
        status: int | None = None,
    ) -> WireResponse:
        plan = self._outputs.get(op.name)
        if plan is None:
            plan = self._outputs[op.name] = self._plan_output(op)
        if status is None:
            told = output.get(plan.status_member) if plan.status_member else None
            status = plan.status if told is None else int(told)
        headers = self.request_id_headers(request_id)
        write_headers(plan, output, headers)
        body, content_type = self._body(plan, op, output, status)
        if content_type and output.get(plan.content_type_member) is None:
            headers.append(("Content-Type", content_type))
        return WireResponse(status, headers, body)

    def _body(
        self, plan: OutputPlan, op: OperationModel, output: Mapping[str, Any], status: int
    ) -> tuple[bytes | Stream, str]:
        if status in _BODILESS:
            return b"", ""
        shape = plan.payload_shape
        if shape is None:
            if plan.write_body is None:
                return b"", ""
            return plan.write_body(output), self.content_type
        value = output.get(plan.payload)
        if shape.serialization.get("eventstream"):
            if value is None:
                return b"", event_stream.CONTENT_TYPE
            return Stream(self.events.messages(value, shape, None)), event_stream.CONTENT_TYPE
        if isinstance(value, Stream):
            return value, self.default_blob_type(op)
        if shape.type_name == "blob":
            if value is None:
                return b"", ""
            data = value.encode() if isinstance(value, str) else bytes(value)
            return data, self.default_blob_type(op)
        if value is None and (shape.type_name != "structure" or shape.is_tagged_union):
            return b"", ""
        if _is_text(shape):
            return str(value).encode(), "text/plain"
        if plan.write_body is None:
            return b"", ""
        return plan.write_body({} if value is None else value), self.content_type

    def _plan_output(self, op: OperationModel) -> OutputPlan:
        plan = OutputPlan(status=int(op.http.get("responseCode", 200)))
        shape = op.output_shape
        if shape is None:
            return plan
        plan_members(plan, shape)
        plan.write_body = self.body_writer(op, plan)
        return plan


def plan_members(plan: OutputPlan, shape: Shape) -> None:
    """Sort the members of an output or error by their location in the response."""
    plan.payload = shape.serialization.get("payload", "")
    for member, part in shape.members.items():
        place = part.serialization.get("location")
        name = part.serialization.get("name", member)
        if place == "header":
            plan.headers[member] = (name, header_writer(part))
            if name.lower() == "content-type":
                plan.content_type_member = member
        elif place == "headers":
            plan.prefixed.append((member, part.serialization.get("name", "")))
        elif place == "statusCode":
            plan.status_member = member
        elif member == plan.payload:
            plan.payload_shape = part
        else:
            plan.body.append((member, part))


def write_headers(plan: OutputPlan, output: Mapping[str, Any], headers: Headers) -> None:
    for member, value in output.items():
        if value is not None and member in plan.headers:
            name, convert = plan.headers[member]
            headers.append((name, _one_line(convert(value))))
    for member, prefix in plan.prefixed:
        for name, value in (output.get(member) or {}).items():
            headers.append((prefix + _one_line(str(name)), _one_line(str(value))))


def header_reader(shape: Shape) -> ReadText:
    if shape.serialization.get("jsonvalue"):
        return lambda text: _utf8(blob_from_text(text))
    if shape.type_name == "list":
        item = text_reader(shape.member, "rfc822")
        form = shape.member.serialization.get("timestampFormat", "rfc822")
        if shape.member.type_name == "timestamp" and form == "rfc822":
            return lambda text: [item(one) for one in _split_dates(text)]
        return lambda text: [item(one) for one in _split_list(text)]
    return text_reader(shape, "rfc822")


def header_writer(shape: Shape) -> WriteText:
    if shape.serialization.get("jsonvalue"):
        return lambda value: blob_to_text(value if isinstance(value, str) else encode(value))
    if shape.type_name == "list":
        item = text_writer(shape.member, "rfc822")
        if shape.member.type_name == "string":
            return lambda value: ", ".join(_quoted(item(one)) for one in value)
        return lambda value: ", ".join(item(one) for one in value)
    return text_writer(shape, "rfc822")


def _one_line(text: str) -> str:
    """Return a value that cannot end its header and begin another."""
    if "\r" in text or "\n" in text or "\0" in text:
        return text.replace("\r", " ").replace("\n", " ").replace("\0", " ")
    return text


def _placed(convert: ReadText, text: str, name: str) -> Any:
    try:
        return convert(text)
    except MalformedInput as error:
        error.place = error.place or name
        error.value = error.value or text[:64]
        raise


def _split_list(text: str) -> Iterable[str]:
    """Yield the items of a header list; an item in double quotes may have commas."""
    if not text.strip():
        return []
    if '"' not in text:
        return [one.strip() for one in text.split(",")]
    items: list[str] = []
    at, end = 0, len(text)
    while at <= end:
        while at < end and text[at] in " \t":
            at += 1
        if at < end and text[at] == '"':
            at += 1
            item = ""
            while at < end and text[at] != '"':
                if text[at] == "\\" and at + 1 < end:
                    at += 1
                item += text[at]
                at += 1
            at = text.find(",", at)
            items.append(item)
            if at < 0:
                break
            at += 1
        else:
            comma = text.find(",", at)
            comma = end if comma < 0 else comma
            items.append(text[at:comma].strip())
            at = comma + 1
    return items


def _split_dates(text: str) -> Iterable[str]:
    """Yield HTTP dates, each of which has one comma: ``Mon, 16 Dec 2019 …, Tue, 17 Dec 2019 …``."""
    parts = [one.strip() for one in text.split(",")]
    if len(parts) % 2:
        return parts
    return [f"{parts[at]}, {parts[at + 1]}" for at in range(0, len(parts), 2)]


def _quoted(text: str) -> str:
    if "," in text or '"' in text:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def _path_pattern(uri: str) -> re.Pattern[str]:
    path = uri.partition("?")[0]
    out = ""
    at = 0
    for label in _LABEL.finditer(path):
        out += re.escape(path[at : label.start()])
        out += f"(?P<{label[1]}>{'.+' if label[2] else '[^/]+'})"
        at = label.end()
    return re.compile(out + re.escape(path[at:]) + r"/?\Z", re.DOTALL)


def _utf8(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise MalformedInput("The request body is not UTF-8") from None


def _is_text(shape: Shape | None) -> bool:
    """Return whether a payload is the body itself as text."""
    return (
        shape is not None
        and shape.type_name == "string"
        and not getattr(shape, "is_document_type", False)
    )

"""rest-json 1: Lambda, API Gateway, Scheduler …

https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape

from boda.core.errors import AwsError
from boda.gateway.http.wire import WireResponse
from boda.gateway.protocols import json_values
from boda.gateway.protocols.form import USUAL, WireForm
from boda.gateway.protocols.json_values import JsonReader, JsonWriter
from boda.gateway.protocols.protocol import error_members
from boda.gateway.protocols.rest import (
    InputPlan,
    OutputPlan,
    ReadBody,
    Rest,
    plan_members,
    write_headers,
)

_NO_PLAN = OutputPlan()


class RestJson(Rest):
    name = "rest-json"
    content_type = "application/json"

    def __init__(self, service: ServiceModel, form: WireForm = USUAL) -> None:
        self._reader = JsonReader()
        self._writer = JsonWriter()
        self._error_plans: dict[str, OutputPlan] = {}
        super().__init__(service, form)

    def body_reader(self, op: OperationModel, plan: InputPlan) -> ReadBody | None:
        if plan.payload_shape is not None:
            convert = self._reader.reader(plan.payload_shape)
        elif plan.body:
            convert = self._reader.members(plan.body)
        else:
            return None
        return lambda body, bounds: json_values.read(body, convert, bounds)

    def body_writer(self, op: OperationModel, plan: OutputPlan) -> Callable[[Any], bytes] | None:
        if plan.payload_shape is not None:
            convert = self._writer.writer(plan.payload_shape)
        elif plan.body or not (plan.headers or plan.prefixed):
            convert = self._writer.members(plan.body)
        else:
            return None
        return lambda value: json_values.encode(convert(value))

    def encode_event(self, shape: Shape, value: Mapping[str, Any], members: list[str]) -> bytes:
        convert = self._writer.members((name, shape.members[name]) for name in members)
        return json_values.encode(convert(value))

    def decode_event(self, shape: Shape, body: bytes) -> dict[str, Any]:
        value: dict[str, Any] = json_values.read(body, self._reader.members(shape.members.items()))
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
        headers.append(("x-amzn-ErrorType", names.type))
        values = dict(error.fields)
        plan = _NO_PLAN
        if shape is not None:
            if "Type" in shape.members and "Type" not in values:
                values["Type"] = "Service" if error.fault == "server" else "User"
            plan = self._error_plan(shape)
            write_headers(plan, values, headers)
        tree = error_members(error, values, shape, self._writer.members(plan.body))
        headers.extend(error.headers.items())
        headers.append(("Content-Type", "application/json"))
        return WireResponse(error.status, headers, json_values.encode(tree))

    def _error_plan(self, shape: Shape) -> OutputPlan:
        plan = self._error_plans.get(shape.name)
        if plan is None:
            plan = self._error_plans[shape.name] = OutputPlan()
            plan_members(plan, shape)
        return plan

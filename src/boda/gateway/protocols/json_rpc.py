"""json 1.0 and 1.1: DynamoDB, CloudWatch Logs, EventBridge, Kinesis, SQS …

https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

from typing import Any

from botocore.model import ServiceModel

from boda.core.bounds import DEFAULT, Bounds
from boda.gateway.protocols import json_values
from boda.gateway.protocols.form import USUAL, WireForm
from boda.gateway.protocols.json_values import JsonReader, JsonWriter
from boda.gateway.protocols.protocol import ErrorNames
from boda.gateway.protocols.rpc import Rpc
from boda.gateway.protocols.tree import Convert


class JsonRpc(Rpc):
    name = "json"

    def __init__(self, service: ServiceModel, form: WireForm = USUAL) -> None:
        super().__init__(service, JsonReader(), JsonWriter(), "application/json", form)
        self.version = str(service.metadata.get("jsonVersion", "1.0"))
        self.content_type = f"application/x-amz-json-{self.version}"

    def encode(self, tree: Any) -> bytes:
        return json_values.encode(tree)

    def decode(self, body: bytes, convert: Convert, bounds: Bounds = DEFAULT) -> dict[str, Any]:
        value: dict[str, Any] = json_values.read(body, convert, bounds)
        return value

    def error_type(self, names: ErrorNames) -> str:
        # 1.0 services name the shape in full, 1.1 services by its last part; clients of both read
        # the part after the #.
        if self.version == "1.0":
            return f"com.amazonaws.{self.service.endpoint_prefix}#{names.type}"
        return names.type

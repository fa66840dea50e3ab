"""smithy-rpc-v2-cbor: CloudWatch and newer services.

https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
"""

from __future__ import annotations

from typing import Any

from botocore.model import ServiceModel

from boda.core.bounds import DEFAULT, Bounds
from boda.gateway.protocols import cbor_values
from boda.gateway.protocols.cbor_values import CborReader, CborWriter
from boda.gateway.protocols.form import USUAL, WireForm
from boda.gateway.protocols.protocol import ErrorNames, Headers
from boda.gateway.protocols.rpc import Rpc
from boda.gateway.protocols.tree import Convert


class RpcV2Cbor(Rpc):
    name = "smithy-rpc-v2-cbor"
    content_type = "application/cbor"
    types_nothing = False

    def __init__(self, service: ServiceModel, form: WireForm = USUAL) -> None:
        super().__init__(service, CborReader(), CborWriter(), self.content_type, form)

    def request_id_headers(self, request_id: str) -> Headers:
        return [("x-amzn-RequestId", request_id), ("smithy-protocol", "rpc-v2-cbor")]

    def encode(self, tree: Any) -> bytes:
        return cbor_values.encode(tree)

    def decode(self, body: bytes, convert: Convert, bounds: Bounds = DEFAULT) -> dict[str, Any]:
        value: dict[str, Any] = convert(cbor_values.decode(body, bounds))
        return value

    def error_type(self, names: ErrorNames) -> str:
        return f"com.amazonaws.{self.service.endpoint_prefix}#{names.type}"

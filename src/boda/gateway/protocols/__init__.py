"""AWS's wire protocols on the server's side, driven by botocore's service models.

protocol_for(service)  the protocol a service speaks, or the named one of those it speaks
"""

from __future__ import annotations

from botocore.model import ServiceModel

from boda.gateway.protocols.json_rpc import JsonRpc
from boda.gateway.protocols.protocol import Protocol
from boda.gateway.protocols.query import Ec2, Query
from boda.gateway.protocols.rest_json import RestJson
from boda.gateway.protocols.rest_xml import RestXml
from boda.gateway.protocols.rpc_v2_cbor import RpcV2Cbor
from boda.gateway.protocols.s3 import S3

__all__ = ["Protocol", "protocol_for"]


def protocol_for(service: ServiceModel, name: str = "") -> Protocol:
    """name: one of ``rest-json``, ``json``, ``query``, ``ec2``, ``rest-xml`` and
    ``smithy-rpc-v2-cbor``; the one botocore's clients choose when empty.

    Raises ValueError for a protocol that does not exist.
    """
    name = name or service.resolved_protocol
    if name == "rest-xml":
        return S3(service) if service.service_name == "s3" else RestXml(service)
    for kind in (RestJson, JsonRpc, Query, Ec2, RpcV2Cbor):
        if kind.name == name:
            return kind(service)
    raise ValueError(f"{name} is no protocol of AWS")

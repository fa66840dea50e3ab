"""AWS's wire protocols on the server's side, driven by botocore's service models.

protocol_for(service)  the protocol of a service, or the named one of several
"""

from __future__ import annotations

from botocore.model import ServiceModel

from boda.gateway.protocols.form import USUAL, WireForm
from boda.gateway.protocols.json_rpc import JsonRpc
from boda.gateway.protocols.protocol import Protocol
from boda.gateway.protocols.query import Ec2, Query
from boda.gateway.protocols.rest_json import RestJson
from boda.gateway.protocols.rest_xml import RestXml
from boda.gateway.protocols.rpc_v2_cbor import RpcV2Cbor

__all__ = ["Protocol", "WireForm", "protocol_for"]


def protocol_for(service: ServiceModel, name: str = "", form: WireForm = USUAL) -> Protocol:
    """Return the protocol of a service. Raises ValueError if it does not exist.

    name: one of ``rest-json``, ``json``, ``query``, ``ec2``, ``rest-xml`` and
    ``smithy-rpc-v2-cbor``; the one botocore's clients choose if empty. form: how the service
    departs from it.
    """
    name = name or service.resolved_protocol
    if form.kind is not None and name == service.resolved_protocol:
        return form.kind(service, form)
    for kind in (RestJson, RestXml, JsonRpc, Query, Ec2, RpcV2Cbor):
        if kind.name == name:
            return kind(service, form)
    raise ValueError(f"{name} is no protocol of AWS")

"""AWS Security Token Service: the caller's identity, and temporary credentials."""

from __future__ import annotations

from boda.gateway.calling.service import Service
from boda.gateway.dialect import QUERY
from boda.plug import Host, Plug, Running
from boda.services.sts.condition_keys import CONDITION_KEYS
from boda.services.sts.operations import TokenOperations

__all__ = ["PLUG"]


def build(host: Host) -> Running:
    return Running(
        Service("sts", [TokenOperations(host.identities)], condition_keys=CONDITION_KEYS)
    )


PLUG = Plug("sts", build, dialect=QUERY)

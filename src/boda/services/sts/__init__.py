"""AWS Security Token Service: who am I, and credentials for a while."""

from __future__ import annotations

from boda.gateway.calling.service import Service
from boda.services.sts.condition_keys import CONDITION_KEYS
from boda.services.sts.identity import Sessions
from boda.services.sts.tokens import Tokens

__all__ = ["Sessions", "build"]


def build(identity: Sessions) -> Service:
    """The service, standing on the Identity of the IAM service."""
    return Service("sts", [Tokens(identity)], condition_keys=CONDITION_KEYS)

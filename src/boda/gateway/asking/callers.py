"""The callers of a platform that verifies no signatures (``--auth open``)."""

from __future__ import annotations

import re

from boda.core.errors import AwsError
from boda.core.principal import Principal, root_of
from boda.gateway.dialect import JSON
from boda.gateway.http.hosts import Hosts
from boda.gateway.http.wire import WireRequest
from boda.gateway.signing.claim import Flaw, MalformedClaim, hinted_scope, read_claim
from boda.gateway.signing.identity import Directory

_ACCOUNT = re.compile(r"[0-9]{12}")


class OpenCallers:
    """Trusts callers' claims. account: callers without a claim are its root user.

    hosts: recognises the pages of other sites, which are refused.
    """

    def __init__(self, directory: Directory, account: str, hosts: Hosts) -> None:
        self._directory = directory
        self._account = account
        self._hosts = hosts

    def principal(self, request: WireRequest) -> Principal:
        """Return the caller: the owner of the access key if it exists, whatever its signature; else
        the root user, of the account whose number the key is, if it is one."""
        key = _access_key_id(request)
        known = self._directory.credential(key) if key else None
        if known is not None:
            return known.principal
        return root_of(key if _ACCOUNT.fullmatch(key) else self._account, key)

    def refuse_pages(self, request: WireRequest) -> None:
        """Raises AwsError AccessDenied if another site's page makes a browser send this."""
        origin = self._hosts.foreign(request)
        if origin:
            raise foreign_page(origin)


def foreign_page(origin: str) -> AwsError:
    return Flaw("foreign-page", origin[:256]).error(JSON.signatures)


def _access_key_id(request: WireRequest) -> str:
    try:
        claim = read_claim(request)
    except MalformedClaim:
        hint = hinted_scope(request)
        return hint[0] if hint is not None else ""
    return claim.signatory.access_key_id if claim is not None else ""

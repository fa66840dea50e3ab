"""Requests to function URLs in the form for events of payload format 2.0, and CORS. Pure.

Source: Lambda developer guide, "urls-invocation" and "urls-configuration".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from boda.core.principal import Principal
from boda.events.http.messages import HttpRequest
from boda.events.http.payload_2 import HttpRoute
from boda.gateway.http.wire import WireRequest

_TEXT = re.compile(r"text/|application/(.*\+)?(json|xml|javascript)\b", re.I)
_SECRETS = frozenset(("authorization", "x-amz-security-token"))
_PORT = 80


def received(request: WireRequest, body: bytes = b"") -> HttpRequest:
    """Return a request as the function gets it, without the headers of earlier proxies."""
    _, colon, port = request.host.rpartition(":")
    return HttpRequest(
        request.method,
        request.path,
        request.query,
        [line for line in request.headers.items() if line[0] != "x-forwarded-for"],
        body,
        request.host,
        request.source_ip,
        port=int(port) if colon and port.isascii() and port.isdigit() else _PORT,
    )


def route(url_id: str, caller: Principal | None) -> HttpRoute:
    """Return the members that a URL adds to events. caller: None if the URL has no
    authentication."""
    if caller is None:
        return _open_route(url_id)
    iam = {
        "accessKey": caller.access_key_id,
        "accountId": caller.account,
        "callerId": caller.unique_id,
        "cognitoIdentity": None,
        "principalOrgId": None,
        "userArn": caller.arn,
        "userId": caller.unique_id,
    }
    return HttpRoute(
        caller.account,
        url_id,
        url_id,
        authorizer={"iam": iam},
        dropped=_SECRETS,
        text=_TEXT,
    )


@lru_cache(maxsize=256)
def _open_route(url_id: str) -> HttpRoute:
    return HttpRoute("anonymous", url_id, url_id, text=_TEXT)


def cross_origin(
    request: WireRequest, config: Mapping[str, Any], *, preflight: bool
) -> list[tuple[str, str]]:
    """Return the CORS headers for a browser at the request's origin."""
    origin = request.headers.get("origin", "")
    allowed = config.get("AllowOrigins") or []
    if not origin or not ("*" in allowed or origin in allowed):
        return []
    found = [("access-control-allow-origin", origin), ("vary", "Origin")]
    if config.get("AllowCredentials"):
        found.append(("access-control-allow-credentials", "true"))
    if config.get("ExposeHeaders"):
        found.append(("access-control-expose-headers", ",".join(config["ExposeHeaders"])))
    if preflight:
        for member, name in (
            ("AllowMethods", "access-control-allow-methods"),
            ("AllowHeaders", "access-control-allow-headers"),
        ):
            if config.get(member):
                found.append((name, ",".join(config[member])))
        if config.get("MaxAge") is not None:
            found.append(("access-control-max-age", str(config["MaxAge"])))
    return found

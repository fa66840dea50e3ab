"""A request's parameters: those of its head before its body is read, and then all of them.

Law of this file: long work is not done on the event loop. A body of more than
``Limits.parsed_at_once_bytes``, or of many members, is parsed and validated in a thread, a few of
them at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from boda.core.long_work import beside
from boda.gateway.calling.exchange import Exchange
from boda.gateway.http.limits import Limits

_FEW = 2048
"""Bytes or members."""
_SEPARATORS = (b",", b"<", b"&")
"""JSON, XML and forms have at most as many members as they have of these bytes; a member of CBOR
costs too little to be counted."""


class ParameterInBody(Exception):
    """The parameter is in the body, which has not been read."""


class HeadParameters(Mapping[str, Any]):
    """The parameters in path, query string and headers.

    Raises ParameterInBody for a parameter that stands in the body, so that a permission is checked
    before the body exactly if everything it depends on is in the head.
    """

    __slots__ = ("_in_body", "_params")

    def __init__(self, params: Mapping[str, Any], in_body: frozenset[str]) -> None:
        self._params = params
        self._in_body = in_body

    def __getitem__(self, name: str) -> Any:
        if name in self._in_body:
            raise ParameterInBody(name)
        return self._params[name]

    def __iter__(self) -> Iterator[str]:
        raise ParameterInBody

    def __len__(self) -> int:
        raise ParameterInBody


def parse_head(x: Exchange) -> dict[str, Any]:
    """Return the parameters in path, query string and headers, not validated. Raises AwsError."""
    assert x.installed is not None and x.offered is not None
    protocol = x.installed.protocol(x.route.wire)
    return protocol.parse_head(x.request, x.offered.model, x.route.labels)


class Parsing:
    """Parses bodies; a large one waits for its turn, and may be cancelled meanwhile."""

    def __init__(self, limits: Limits) -> None:
        self._at_once = limits.parsed_at_once_bytes
        self._turns = asyncio.Semaphore(limits.parsers)

    async def parse(self, x: Exchange, head: Mapping[str, Any]) -> dict[str, Any]:
        """Return all parameters, validated. Raises AwsError."""
        assert x.installed is not None and x.offered is not None
        if x.inbound.empty and not x.offered.in_body:
            params = dict(head)
            x.installed.validator.check(x.offered.model, params)
            return params
        body = x.request.body
        if not x.offered.parsed or not isinstance(body, bytes) or self._is_quick(x, body):
            return _parsed(x, head)
        # Two threads must not compile the same shapes at the same time.
        x.installed.protocol(x.route.wire).prepare(x.offered.model)
        x.installed.validator.prepare(x.offered.model)
        with x.inbound.keeping(len(body)):
            async with self._turns:
                x.inbound.check_kept()
                return await beside(_parsed, x, head)

    def _is_quick(self, x: Exchange, body: bytes) -> bool:
        if len(body) > self._at_once or "content-encoding" in x.request.headers:
            return False
        return len(body) <= _FEW or sum(map(body.count, _SEPARATORS)) <= _FEW

    def is_small(self, x: Exchange) -> bool:
        """Return whether the body, read or not, is parsed on the event loop."""
        body = x.request.body
        size = len(body) if x.arriving is None and isinstance(body, bytes) else x.inbound.announced
        return size is not None and size <= self._at_once


def _parsed(x: Exchange, head: Mapping[str, Any]) -> dict[str, Any]:
    assert x.installed is not None and x.offered is not None
    protocol = x.installed.protocol(x.route.wire)
    params = {**head, **protocol.parse_body(x.request, x.offered.model, x.offered.bounds)}
    x.installed.validator.check(x.offered.model, params)
    return params

"""The metadata endpoint: who may read it, what it says, how the zone of a region is called."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from boda.runtime.api import RuntimeApi
from boda.runtime.metadata import PATH, Metadata, zone_id
from boda.runtime.session import RuntimeSession


@pytest.fixture
async def address() -> Iterator[str]:
    ours, theirs = socket.socketpair()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    session = RuntimeSession(ours, object())  # type: ignore[arg-type]
    api = RuntimeApi(listener, session, metadata=Metadata("the-token", "eu-central-1"))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    api.close()
    for each in (ours, theirs, listener):
        each.close()


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


async def test_it_tells_the_zone(address: str) -> None:
    status, headers, body = await asyncio.to_thread(
        ask, address + PATH, Authorization="Bearer the-token"
    )
    assert (status, json.loads(body)) == (200, {"AvailabilityZoneID": "euc1-az1"})
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "private, max-age=43200, immutable"


@pytest.mark.parametrize(
    ("method", "path", "authorization", "expected"),
    [
        ("GET", PATH, "", 401),
        ("GET", PATH, "the-token", 401),
        ("GET", PATH, "Bearer another", 401),
        ("GET", PATH, "Bearer töken".encode().decode("latin-1"), 401),
        ("POST", PATH, "Bearer the-token", 405),
        ("GET", "/2026-01-15/metadata/other", "Bearer the-token", 404),
    ],
)
async def test_nothing_else_is_told(
    address: str, method: str, path: str, authorization: str, expected: int
) -> None:
    status, _, _ = await asyncio.to_thread(ask, address + path, method, Authorization=authorization)
    assert status == expected


@pytest.mark.parametrize(
    ("region", "zone"),
    [
        ("us-east-1", "use1-az1"),
        ("us-west-2", "usw2-az1"),
        ("eu-north-1", "eun1-az1"),
        ("ap-southeast-2", "apse2-az1"),
        ("ap-northeast-1", "apne1-az1"),
        ("ca-central-1", "cac1-az1"),
        ("us-gov-west-1", "usgw1-az1"),
        ("nowhere", "nowhere-az1"),
    ],
)
def test_zones_are_named_by_their_regions(region: str, zone: str) -> None:
    assert zone_id(region) == zone

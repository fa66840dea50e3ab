"""The role's keys as containers fetch them: by botocore itself, over the Runtime API's listener."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

import botocore.credentials
import pytest

from boda.core.clock import Clock, ManualClock
from boda.core.errors import AwsError
from boda.runtime.api import RuntimeApi
from boda.runtime.credentials import PATH, ContainerCredentials
from boda.runtime.session import RuntimeSession
from boda.runtime.turns import BURST, REQUESTS_PER_S


@dataclass
class Keys:
    access_key_id: str = "AKIA"
    secret: str = "s"
    session_token: str = "t"
    expires_at: float | None = None


class Nobody:
    """A listener that must hear nothing."""


@pytest.fixture
async def serve():
    apis, closing = [], []

    def serve(keys: ContainerCredentials | None, clock: Clock | None = None) -> str:
        ours, theirs = socket.socketpair()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        closing.extend((ours, theirs, listener))
        session = RuntimeSession(ours, Nobody())  # type: ignore[arg-type]
        apis.append(RuntimeApi(listener, session, keys, clock))
        return f"http://127.0.0.1:{listener.getsockname()[1]}{PATH}"

    yield serve
    for api in apis:
        api.close()
    for each in closing:
        each.close()


def provider(uri: str, token: str) -> botocore.credentials.ContainerProvider:
    environ = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": uri,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
    }
    return botocore.credentials.ContainerProvider(environ=environ)


async def test_what_lapses_soon_is_asked_for_again_before_it_is_used(serve):
    current = [Keys("AKIA1")]
    keys = ContainerCredentials("token", lambda: current[0], time.time, longest_s=300)
    found = await asyncio.to_thread(provider(serve(keys), "token").load)
    assert found._access_key == "AKIA1"
    current[0] = Keys("AKIA2")
    frozen = await asyncio.to_thread(found.get_frozen_credentials)
    assert tuple(frozen[:3]) == ("AKIA2", "s", "t")


async def test_keys_are_not_said_to_live_longer_than_they_do(serve):
    keys = ContainerCredentials("x", lambda: Keys(expires_at=86400.0), lambda: 86000.0)
    assert b'"1970-01-02T00:00:00Z"' in keys.document()
    keys = ContainerCredentials("x", lambda: Keys(), lambda: 0.0, longest_s=60)
    assert b'"1970-01-01T00:01:00Z"' in keys.document()


@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 401), ("töken", 401)])
async def test_without_the_token_there_are_no_keys(serve, token, status):
    uri = serve(ContainerCredentials("token", Keys, lambda: 0.0))
    assert await asyncio.to_thread(status_of, uri, token) == status


async def test_where_none_are_given_there_is_no_such_resource(serve):
    assert await asyncio.to_thread(status_of, serve(None), "token") == 404


async def test_a_role_that_gives_no_keys_is_told(serve):
    def refuse() -> Keys:
        raise AwsError("AccessDeniedException", "no", 403)

    uri = serve(ContainerCredentials("token", refuse, lambda: 0.0))
    assert await asyncio.to_thread(status_of, uri, "token") == 500


async def test_keys_that_are_asked_for_on_and_on_wait_for_the_budget(serve):
    clock = ManualClock()
    uri = serve(ContainerCredentials("token", Keys, lambda: 0.0), clock)
    address = urllib.parse.urlsplit(uri)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    asked = 3 * BURST
    head = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: token\r\n\r\n"
    writer.write(head.encode() * asked)
    told = bytearray()

    async def read() -> None:
        while told.count(b"HTTP/1.1 200 OK") < asked:
            told.extend(await reader.read(1 << 16))

    reading = asyncio.ensure_future(read())
    for passed_s in range(3):
        for _ in range(5000):
            await asyncio.sleep(0)
        answered = told.count(b"HTTP/1.1 200 OK")
        most = BURST + passed_s * REQUESTS_PER_S
        assert most - 1 - passed_s <= answered <= most  # the connection was paid for
        await clock.advance(1.0)
    while not reading.done():
        await clock.advance(1.0)
        await asyncio.sleep(0)
    await reading
    writer.close()


def status_of(uri: str, token: str) -> int:
    request = urllib.request.Request(uri, headers={"Authorization": token})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code

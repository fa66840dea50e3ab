"""URLs presigned by default clients, which for us-east-1 still sign the old way."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import boto3
import pytest
from botocore.auth import HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from boda.core.clock import ManualClock
from support.rig import (
    KEY,
    SECRET,
    SESSION_KEY,
    SESSION_SECRET,
    SESSION_TOKEN,
    USER_KEY,
    USER_SECRET,
    Rig,
    rig,
    run,
)


@pytest.fixture
async def up() -> AsyncIterator[Rig]:
    async with rig() as made:
        yield made


def presigned(
    up: Rig, operation: str, *, key: str = KEY, secret: str = SECRET, token: str | None = None,
    expires_s: int = 60, **params: str,
) -> str:  # fmt: skip
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=up.url,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
    )
    up.clients.append(client)
    url: str = client.generate_presigned_url(
        operation, Params={"Bucket": "b"} | params, ExpiresIn=expires_s
    )
    assert "AWSAccessKeyId=" in url, "this client signs another way; the test says nothing"
    return url


def fetch(
    url: str, method: str = "GET", data: bytes | None = None, **headers: str
) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, method=method, data=data, headers=named)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


async def test_put_and_get(up: Rig) -> None:
    put = presigned(up, "put_object", Key="ü x+y/z", ContentType="text/plain")
    assert await run(fetch, put, "PUT", b"hello", Content_Type="text/plain") == (200, b"")
    status, body = await run(fetch, put, "PUT", b"hello", Content_Type="text/html")
    assert status == 403 and b"SignatureDoesNotMatch" in body
    get = presigned(up, "get_object", Key="ü x+y/z", ResponseContentDisposition="inline")
    assert await run(fetch, get) == (200, b"hello")
    assert (await run(fetch, get, "PUT", b"other", Content_Type=""))[0] == 403
    assert up.objects.kept["b", "ü x+y/z"] == b"hello"


async def test_headers_travel_in_the_url(up: Rig) -> None:
    url = presigned(up, "put_object", Key="k", Tagging="a=b", ContentType="text/plain")
    assert (await run(fetch, url, "PUT", b"x", Content_Type="text/plain"))[0] == 200
    assert up.objects.seen["tagging"] == "a=b"


async def test_what_was_changed_is_refused(up: Rig) -> None:
    up.objects.kept["b", "k"] = b"data"
    url = presigned(up, "get_object", Key="k")
    assert (await run(fetch, url))[0] == 200
    parts = urlsplit(url)
    fields = dict(parse_qsl(parts.query))
    later = urlencode(fields | {"Expires": str(int(fields["Expires"]) + 60)})
    for changed in (
        url.replace("/b/k?", "/b/other?"),
        url.replace("/b/k?", "/public/k?"),
        url + "&versionId=1",
        url + "&response-content-type=text/html",
        url + "&x-amz-acl=public-read",
        f"{parts._replace(query=later).geturl()}",
        url.replace("AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE", f"AWSAccessKeyId={USER_KEY}"),
    ):
        status, body = await run(fetch, changed)
        assert (status, b"SignatureDoesNotMatch" in body) == (403, True), changed
    # Sub-resources that the old signature leaves out would make another operation of it.
    status, body = await run(fetch, url + "&attributes")
    assert (status, b"does not cover attributes" in body) == (400, True)
    status, body = await run(fetch, url + "&Expires=9999999999")
    assert (status, b"Duplicate Expires" in body) == (400, True)
    unknown = presigned(up, "get_object", Key="k", key="AKIAUNKNOWN")
    assert b"InvalidAccessKeyId" in (await run(fetch, unknown))[1]
    for name in ("Signature", "Expires"):
        rest = urlencode({k: v for k, v in fields.items() if k != name})
        status, body = await run(fetch, parts._replace(query=rest).geturl())
        assert (status, b"requires the Signature, Expires" in body) == (403, True)
    for junk in ("soon", "-1", "1e9", "9" * 40, "\u0661"):
        rest = urlencode(fields | {"Expires": junk})
        status, body = await run(fetch, parts._replace(query=rest).geturl())
        assert (status, b"Invalid date" in body) == (403, True)


async def test_permissions_are_the_signers(up: Rig) -> None:
    up.objects.kept["b", "k"] = b"data"
    url = presigned(up, "get_object", Key="k", key=USER_KEY, secret=USER_SECRET)
    status, body = await run(fetch, url)
    assert (status, b"AccessDenied" in body) == (403, True)


async def test_sessions_bring_their_token(up: Rig) -> None:
    good = presigned(
        up, "get_object", Key="k", key=SESSION_KEY, secret=SESSION_SECRET, token=SESSION_TOKEN
    )
    assert b"AccessDenied" in (await run(fetch, good))[1]  # known, and allowed nothing
    bare = presigned(up, "get_object", Key="k", key=SESSION_KEY, secret=SESSION_SECRET)
    assert b"InvalidAccessKeyId" in (await run(fetch, bare))[1]


async def test_it_lapses() -> None:
    clock = ManualClock(int(time.time()))
    async with rig(clock=clock) as up:
        up.objects.kept["b", "k"] = b"data"
        url = presigned(up, "get_object", Key="k", expires_s=100)
        assert (await run(fetch, url))[0] == 200
        await clock.advance(103)
        status, body = await run(fetch, url)
        assert (status, b"Request has expired" in body) == (403, True)


async def test_a_bucket_in_the_host_name(up: Rig) -> None:
    up.objects.kept["bee", "k"] = b"data"
    made = AWSRequest("GET", f"{up.url}/k", {})
    made.auth_path = "/bee/k"
    HmacV1QueryAuth(Credentials(KEY, SECRET), expires=60).add_auth(made)
    path = made.url.removeprefix(up.url)
    head = f"GET {path} HTTP/1.1\r\nHost: bee.s3.localhost\r\nConnection: close\r\n\r\n"
    answer = await up.raw(head.encode())
    assert answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"data")


async def test_only_s3_and_only_in_the_url(up: Rig) -> None:
    header = await up.raw(
        b"GET /b/k HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: AWS AKID:c2ln\r\n\r\n"
    )
    assert b"Please use AWS4-HMAC-SHA256" in header
    other = await up.raw(
        b"GET /?Action=ListUsers&AWSAccessKeyId=A&SignatureVersion=2&Signature=x HTTP/1.1\r\n"
        b"Host: x\r\nConnection: close\r\n\r\n"
    )
    assert b"IncompleteSignature" in other


async def test_forms_of_browsers_are_named_as_missing(up: Rig) -> None:
    answer = await up.raw(
        b"POST /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 501 ") and b"s3:PostObject" in answer

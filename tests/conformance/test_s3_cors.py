"""Cross-origin answers as recorded from S3, asked for over plain HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from xml.etree import ElementTree

import pytest

from support.recorded import recorded
from support.s3_world import World, run, s3_world

RULES = {
    "test_cors_match_origins": [
        {
            "AllowedOrigins": ["https://localhost:4200"],
            "AllowedMethods": ["GET", "PUT"],
            "MaxAgeSeconds": 3000,
            "AllowedHeaders": ["*"],
        }
    ],
    "test_cors_match_methods": [
        {
            "AllowedOrigins": ["https://localhost:4200"],
            "AllowedMethods": ["GET"],
            "MaxAgeSeconds": 3000,
            "AllowedHeaders": ["*"],
        }
    ],
    "anyone": [
        {
            "AllowedOrigins": ["*"],
            "AllowedMethods": ["GET", "PUT"],
            "MaxAgeSeconds": 3000,
            "AllowedHeaders": ["*"],
        }
    ],
    "test_cors_expose_headers": [
        {
            "AllowedOrigins": ["*"],
            "AllowedMethods": ["GET"],
            "ExposeHeaders": ["x-amz-id-2", "x-amz-request-id", "x-amz-request-payer"],
        }
    ],
}
RIGHT = "https://localhost:4200"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with s3_world(tmp_path) as world:
        client = world.client()
        await run(client.create_bucket, Bucket="a-bucket")
        await run(client.delete_public_access_block, Bucket="a-bucket")
        allow = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:PutObject"]}
        allow["Resource"] = "arn:aws:s3:::a-bucket/*"
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        await run(client.put_bucket_policy, Bucket="a-bucket", Policy=policy)
        await run(client.put_object, Bucket="a-bucket", Key="test-cors", Body=b"test-cors")
        yield world


async def configure(world: World, name: str) -> None:
    rules = {"CORSRules": RULES[name]}
    await run(world.client().put_bucket_cors, Bucket="a-bucket", CORSConfiguration=rules)


async def ask(
    world: World, method: str, origin: str = "", asked: str = "", path: str = "/a-bucket/test-cors"
) -> tuple[int, dict[str, str], dict[str, str | None]]:
    """Status, the CORS headers, and the error's members."""

    def send() -> tuple[int, Any, bytes]:
        headers = {"Origin": origin} if origin else {}
        if asked:
            headers["Access-Control-Request-Method"] = asked
        data = b"" if method == "PUT" else None
        request = Request(world.url + path, method=method, headers=headers, data=data)
        try:
            answer = urlopen(request, timeout=10)
        except OSError as error:
            answer = error
        with answer:
            return answer.status, answer.headers, answer.read()

    status, headers, body = await asyncio.to_thread(send)
    shown = {
        name.lower(): value
        for name, value in headers.items()
        if name.lower().startswith("access-control-") or name.lower() == "vary"
    }
    error = {each.tag: each.text for each in ElementTree.fromstring(body)} if status >= 400 else {}
    return status, shown, error


def expect(case: str, step: str, found: tuple[int, dict[str, str], dict[str, Any]]) -> None:
    wanted = recorded("s3", "test_s3_cors", f"TestS3Cors::{case}")[step]
    status, headers, error = found
    body = wanted if "Error" in wanted else wanted["Body"]
    if isinstance(body, dict):
        told = {k: v for k, v in body["Error"].items() if k not in ("HostId", "RequestId")}
        assert {k: error.get(k) for k in told} == told
    else:
        shown = {
            name.lower(): value
            for name, value in wanted["Headers"].items()
            if name.startswith("Access-Control-") or name == "Vary"
        }
        assert headers == shown
        assert error == {}
    if "StatusCode" in wanted:
        assert status == wanted["StatusCode"]


async def test_without_rules(world: World) -> None:
    case = "test_cors_http_options_no_config"
    expect(case, "options-no-origin", await ask(world, "OPTIONS"))
    expect(case, "options-with-origin-no-method", await ask(world, "OPTIONS", "http://x"))
    found = await ask(world, "OPTIONS", "http://x", "PUT")
    expect(case, "options-with-origin-and-method", found)
    assert found[0] == 403


async def test_origins(world: World) -> None:
    case = "test_cors_match_origins"
    await configure(world, case)
    expect(case, "opt-no-origin", await ask(world, "OPTIONS"))
    expect(case, "get-no-origin", await ask(world, "GET"))
    expect(case, "opt-right-origin", await ask(world, "OPTIONS", RIGHT, "PUT"))
    expect(case, "get-right-origin", await ask(world, "GET", RIGHT))
    expect(case, "opt-wrong-origin", await ask(world, "OPTIONS", "https://wrong", "PUT"))
    expect(case, "get-wrong-origin", await ask(world, "GET", "https://wrong"))
    await configure(world, "anyone")
    expect(case, "opt-random-wildcard-origin", await ask(world, "OPTIONS", "https://x", "PUT"))
    expect(case, "get-random-wildcard-origin", await ask(world, "GET", "https://x"))


async def test_methods(world: World) -> None:
    case = "test_cors_match_methods"
    await configure(world, case)
    expect(case, "opt-get", await ask(world, "OPTIONS", RIGHT, "GET"))
    expect(case, "get-op", await ask(world, "GET", RIGHT))
    expect(case, "opt-put", await ask(world, "OPTIONS", RIGHT, "PUT"))
    expect(case, "put-op", await ask(world, "PUT", RIGHT))


async def test_exposed_headers(world: World) -> None:
    case = "test_cors_expose_headers"
    await configure(world, case)
    expect(case, "opt-get", await ask(world, "OPTIONS", "https://x", "GET"))


async def test_partial_origins(world: World) -> None:
    case = "test_cors_options_fails_partial_origin"
    await configure(world, "test_cors_match_origins")
    found = await ask(world, "OPTIONS", "https://localhost", "GET", "/a-bucket")
    expect(case, "options_fails_partial_origin", found)

"""Real clients against a real server: botocore's, and what other SDKs put on the wire."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import socket
import zlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from boda.core.principal import Principal, root_of
from boda.gateway.http.wire import WireRequest, WireResponse
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


async def fails(call: Any, **params: Any) -> ClientError:
    with pytest.raises(ClientError) as raised:
        await run(call, **params)
    return raised.value


def code_of(error: ClientError) -> tuple[str, int]:
    return error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]


def fetch(method: str, url: str, body: bytes | None = None,
          headers: dict[str, str] | None = None) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, headers or {})
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read()
    finally:
        connection.close()


async def test_every_protocol(up: Rig) -> None:
    who = await run(up.client("sts").get_caller_identity)
    assert who["Arn"] == "arn:aws:iam::000000000000:root"
    logs = await run(up.client("logs").describe_log_groups, logGroupNamePrefix="x")
    assert logs["logGroups"] == [{"logGroupName": "x-eu-west-1"}]
    function = up.client("lambda")
    answer = await run(function.invoke, FunctionName="f", Payload=b'{"a":1}')
    assert answer["Payload"].read() == b'{"a":1}'
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-extra"] == "yes"
    found = await run(function.get_function_configuration, FunctionName="arn:aws:lambda:x")
    assert found["FunctionName"] == "arn:aws:lambda:x"


async def test_s3_objects(up: Rig) -> None:
    s3 = up.client("s3")
    key, data = "a b/ü+//..%2F.txt", bytes(range(256)) * 4000
    await run(s3.put_object, Bucket="photos", Key=key, Body=data, Metadata={"a": "b"})
    assert up.objects.kept["photos", key] == data
    assert up.objects.seen["length"] == len(data)
    got = await run(s3.get_object, Bucket="photos", Key=key)
    assert await run(got["Body"].read) == data
    head = await run(s3.head_object, Bucket="photos", Key=key)
    assert head["ContentLength"] == len(data)
    request_id = head["ResponseMetadata"]["RequestId"]
    assert len(request_id) == 16 and set(request_id) <= set("0123456789ABCDEF")
    gone = await fails(s3.get_object, Bucket="photos", Key="missing")
    assert code_of(gone) == ("NoSuchKey", 404)
    many = {"Objects": [{"Key": "x"}]}
    deleted = await run(s3.delete_objects, Bucket="photos", Delete=many)
    assert deleted["Deleted"] == [{"Key": "x"}]


async def test_buckets_by_host(up: Rig) -> None:
    host = f"photos.localhost:{up.server.port}"
    request = AWSRequest("PUT", f"http://{host}/k", data=b"hello")
    S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
    status, _, _ = await run(
        fetch, "PUT", f"{up.url}/k", b"hello", {**request.headers, "Host": host}
    )
    assert status == 200
    assert up.objects.kept["photos", "k"] == b"hello"


async def test_sessions_and_refusals(up: Rig) -> None:
    session = up.client("sts", SESSION_KEY, SESSION_SECRET, SESSION_TOKEN)
    assert (await run(session.get_caller_identity))["UserId"] == "AROA1:s"
    stolen = up.client("sts", SESSION_KEY, SESSION_SECRET)
    assert code_of(await fails(stolen.get_caller_identity)) == ("InvalidClientTokenId", 403)
    for service, call, code in (
        ("sts", "get_caller_identity", "SignatureDoesNotMatch"),
        ("logs", "describe_log_groups", "InvalidSignatureException"),
        ("lambda", "list_functions", "InvalidSignatureException"),
        ("s3", "list_buckets", "SignatureDoesNotMatch"),
    ):
        client = up.client(service, KEY, "wrong")
        assert code_of(await fails(getattr(client, call))) == (code, 403)
    user = up.client("logs", USER_KEY, USER_SECRET)
    denied = await fails(user.describe_log_groups)
    assert denied.response["Error"]["Code"] == "AccessDeniedException"
    assert "is not authorized to perform: logs:DescribeLogGroups" in str(denied)


async def test_what_boda_lacks_is_named(up: Rig) -> None:
    for client, call, name in (
        (up.client("lambda"), "list_functions", "lambda:ListFunctions"),
        (up.client("s3"), "list_buckets", "s3:ListBuckets"),
        (up.client("ec2"), "describe_instances", "ec2:DescribeInstances"),
        (up.client("scheduler"), "list_schedules", "scheduler:ListSchedules"),
        (up.client("dynamodb"), "list_tables", "dynamodb:ListTables"),
        (up.client("cloudwatch"), "list_metrics", "cloudwatch:ListMetrics"),
    ):
        error = await fails(getattr(client, call))
        assert code_of(error) == ("NotImplemented", 501)
        assert error.response["Error"]["Message"] == f"boda does not implement {name} yet."
    error = await fails(up.client("logs").describe_log_groups, limit=3)
    assert code_of(error) == ("NotImplemented", 501)
    assert "logs:DescribeLogGroups (parameter limit)" in str(error)


async def test_validation_and_failures(up: Rig, caplog: pytest.LogCaptureFixture) -> None:
    client = up.client("lambda", parameter_validation=False)
    error = await fails(client.get_function_configuration, FunctionName="!" * 200)
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert "validation error" in str(error)
    broken = await fails(up.client("logs").describe_log_groups, logGroupNamePrefix="boom")
    assert code_of(broken) == ("InternalFailure", 500)
    assert "secret" not in str(broken.response)
    request_id = broken.response["ResponseMetadata"]["RequestId"]
    assert [one for one in caplog.records if request_id in one.getMessage()]


async def test_presigned_urls(up: Rig) -> None:
    s3 = up.client("s3", signature_version="s3v4")
    url = s3.generate_presigned_url("put_object", {"Bucket": "b", "Key": "k ü"}, ExpiresIn=60)
    status, _, _ = await run(fetch, "PUT", url, b"via url")
    assert status == 200
    url = s3.generate_presigned_url("get_object", {"Bucket": "b", "Key": "k ü"}, ExpiresIn=60)
    assert (await run(fetch, "GET", url))[::2] == (200, b"via url")
    status, _, body = await run(fetch, "GET", url[:-1] + ("0" if url[-1] != "0" else "1"))
    assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in body
    status, _, body = await run(fetch, "DELETE", url)
    assert status == 403


async def test_presigned_urls_carry_headers_as_parameters(up: Rig) -> None:
    request = AWSRequest("PUT", f"{up.url}/b/k", params={"x-amz-tagging": "a=1"})
    S3SigV4QueryAuth(Credentials(KEY, SECRET), "s3", "us-east-1", expires=60).add_auth(request)
    assert "x-amz-tagging=a%3D1" in request.url
    status, _, _ = await run(fetch, "PUT", request.url, b"x")
    assert (status, up.objects.seen["tagging"]) == (200, "a=1")


async def test_anonymous_callers(up: Rig) -> None:
    up.objects.kept["public", "k"] = up.objects.kept["private", "k"] = b"data"
    assert (await run(fetch, "GET", f"{up.url}/public/k"))[::2] == (200, b"data")
    status, _, body = await run(fetch, "GET", f"{up.url}/private/k")
    assert status == 403 and b"<Code>AccessDenied</Code>" in body
    status, _, body = await run(fetch, "GET", f"{up.url}/2015-03-31/functions")
    assert status == 403
    assert json.loads(body)["message"] == "Missing Authentication Token"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    action = b"Action=GetCallerIdentity&Version=2011-06-15"
    status, _, body = await run(fetch, "POST", up.url + "/", action, form)
    assert status == 403 and b"<Code>MissingAuthenticationToken</Code>" in body
    action = (
        b"Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleSessionName=session"
        b"&RoleArn=arn:aws:iam::000000000000:role/r&WebIdentityToken=token"
    )
    status, _, body = await run(fetch, "POST", up.url + "/", action, form)
    assert status == 200 and b"anonymous:token" in body


def chunked_put(
    up: Rig, body: bytes, length: int, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """A PUT of an unsigned aws-chunked body, signed by botocore's own S3 signer."""
    sent = {
        "Content-Encoding": "gzip,aws-chunked",
        "X-Amz-Decoded-Content-Length": str(length),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    request = AWSRequest("PUT", f"{up.url}/b/chunked", sent)
    request.context["payload_signing_enabled"] = False
    request.context["checksum"] = {
        "request_algorithm": {"algorithm": "crc32", "in": "trailer", "name": "x-amz-checksum-crc32"}
    }
    S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
    assert request.headers["X-Amz-Content-SHA256"] == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    return fetch("PUT", request.url, body, dict(request.headers))


async def test_aws_chunked_with_a_trailer(up: Rig) -> None:
    data = b"z" * 20_000
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    body = b"4e20\r\n" + data + f"\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n".encode()
    trailer = {"X_Amz_Trailer": "x-amz-checksum-crc32"}
    status, _, answer = await run(chunked_put, up, body, len(data), **trailer)
    assert status == 200, answer
    assert up.objects.kept["b", "chunked"] == data
    assert up.objects.seen == {
        "metadata": None,
        "encoding": "gzip",
        "tagging": "",
        "length": 20_000,
        "trailers": {"x-amz-checksum-crc32": crc},
    }
    up.objects.kept.clear()
    for changed, length, code in (
        (body.replace(b"zz", b"zy"), len(data), b"BadDigest"),
        (body, len(data) + 1, b"IncompleteBody"),
        (body, 5, b"IncompleteBody"),
        (body.replace(crc.encode(), b"!"), len(data), b"InvalidRequest"),
        (body.split(b"0\r\nx-amz")[0] + b"0\r\n\r\n", len(data), b"MalformedTrailerError"),
    ):
        status, _, answer = await run(chunked_put, up, changed, length, **trailer)
        assert status == 400 and b"<Code>" + code + b"</Code>" in answer
    assert not up.objects.kept


async def test_content_is_checked(up: Rig) -> None:
    s3 = up.client("s3")
    for params, code in (
        ({"ContentMD5": "nonsense"}, "InvalidDigest"),
        ({"ContentMD5": base64.b64encode(b"0" * 16).decode()}, "BadDigest"),
        ({"ChecksumCRC32": "AAAAAA=="}, "BadDigest"),
        ({"ChecksumSHA256": "AAAA"}, "InvalidRequest"),
    ):
        error = await fails(s3.put_object, Bucket="b", Key="k", Body=b"data", **params)
        assert code_of(error) == (code, 400)
    request = AWSRequest("PUT", f"{up.url}/b/k", data=b"promised")
    S3SigV4Auth(Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
    status, _, body = await run(fetch, "PUT", request.url, b"differs!", dict(request.headers))
    assert status == 400 and b"<Code>XAmzContentSHA256Mismatch</Code>" in body
    assert not up.objects.kept


def continued(up: Rig, secret: str, body: bytes = b"body!") -> tuple[bytes, bytes]:
    """What the server says before the body is sent, and after."""
    request = AWSRequest("PUT", f"{up.url}/b/expected", data=body)
    S3SigV4Auth(Credentials(KEY, secret), "s3", "us-east-1").add_auth(request)
    lines = [f"{name}: {value}\r\n" for name, value in request.headers.items()]
    head = f"PUT /b/expected HTTP/1.1\r\nHost: 127.0.0.1:{up.server.port}\r\n{''.join(lines)}"
    with socket.create_connection(("127.0.0.1", up.server.port), 10) as client:
        expecting = f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        client.sendall(f"{head}{expecting}".encode())
        first = client.recv(65_536)
        if not first.startswith(b"HTTP/1.1 100"):
            while part := client.recv(65_536):
                first += part
            return first, b""
        client.sendall(body)
        return first, client.recv(65_536)


async def test_expect_continue(up: Rig) -> None:
    first, second = await run(continued, up, SECRET)
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert second.startswith(b"HTTP/1.1 200 ")
    assert up.objects.kept["b", "expected"] == b"body!"
    # A wrong signature is told before the body is asked for, and the connection ends.
    first, _ = await run(continued, up, "wrong")
    assert first.startswith(b"HTTP/1.1 403 ") and b"SignatureDoesNotMatch" in first
    assert b"connection: close" in first
    # Nothing is to come, so nothing is asked for; some clients cannot go on after that.
    first, _ = await run(continued, up, SECRET, b"")
    assert first.startswith(b"HTTP/1.1 200 ") and b"connection: close" in first


async def test_open_mode() -> None:
    async with rig(auth="open") as up:
        who = await run(up.client("sts", "anything", "at all").get_caller_identity)
        assert who["Account"] == "000000000000"
        status, _, _ = await run(fetch, "GET", f"{up.url}/2015-03-31/functions/f/configuration")
        assert status == 200
        # As tools for local endpoints send it: a scope, and nothing else that could be checked.
        loose = "AWS4-HMAC-SHA256 Credential=mock/x/ap-south-1/logs/aws4_request"
        status, _, body = await run(
            fetch, "POST", up.url + "/", b"{}",
            {"Authorization": loose, "X-Amz-Target": "Logs_20140328.DescribeLogGroups"},
        )  # fmt: skip
        assert status == 200 and b"ap-south-1" in body
        s3 = up.client("s3", "any", "key")
        await run(s3.put_object, Bucket="b", Key="k", Body=b"x" * 100_000)
        assert len(up.objects.kept["b", "k"]) == 100_000


async def test_calls_in_process(up: Rig) -> None:
    root = root_of()
    answer = await up.gateway.call("lambda", "Invoke", {"FunctionName": "f", "Payload": b"1"}, root)
    assert answer["Payload"] == b"1"
    answer = await up.gateway.call("logs", "DescribeLogGroups", {}, root, region="eu-north-1")
    assert answer["logGroups"] == [{"logGroupName": "-eu-north-1"}]
    user = Principal("user", "000000000000", "arn:aws:iam::000000000000:user/x", "AIDA")
    for service, operation, params, who, code in (
        ("logs", "DescribeLogGroups", {}, user, "AccessDeniedException"),
        (
            "logs",
            "DescribeLogGroups",
            {"logGroupNamePrefix": "!"},
            root,
            "InvalidParameterException",
        ),
        ("logs", "PutLogEvents", {}, root, "NotImplemented"),
        ("sqs", "SendMessage", {}, root, "NotImplemented"),
        ("logs", "NoSuchThing", {}, root, "NotImplemented"),
    ):
        with pytest.raises(Exception, match=code):
            await up.gateway.call(service, operation, params, who)


async def test_health_and_unknown_operations(up: Rig) -> None:
    status, headers, body = await run(fetch, "GET", f"{up.url}/_boda/health")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {
        "status": "ok", "reasons": [], "version": "0", "services": ["lambda", "logs", "s3", "sts"],
    }  # fmt: skip
    assert (await run(fetch, "POST", f"{up.url}/_boda/health"))[0] == 405
    assert "date" in headers and "server" not in headers
    status, _, body = await run(fetch, "POST", f"{up.url}/bucket", b"x")
    assert status == 405 and b"MethodNotAllowed" in body


async def test_preflight_and_decoration() -> None:
    async def preflight(request: WireRequest, labels: Any) -> WireResponse | None:
        return WireResponse(200, [("Access-Control-Allow-Origin", labels["Bucket"])])

    async def decorate(request: WireRequest, labels: Any, response: WireResponse) -> None:
        if "origin" in request.headers:
            response.headers.append(("Access-Control-Allow-Origin", labels["Key"]))

    async with rig(preflight=preflight, decorate=decorate) as up:
        asked = {"Origin": "http://x", "Access-Control-Request-Method": "PUT"}
        status, headers, _ = await run(fetch, "OPTIONS", f"{up.url}/photos/k", None, asked)
        assert (status, headers["access-control-allow-origin"]) == (200, "photos")
        status, headers, _ = await run(
            fetch, "GET", f"{up.url}/b/a%20b", None, {"Origin": "http://x"}
        )
        assert (status, headers["access-control-allow-origin"]) == (403, "a b")


class _Echo:
    def matches(self, request: WireRequest) -> bool:
        return ".lambda-url." in request.host

    async def handle(self, request: WireRequest) -> WireResponse:
        assert not isinstance(request.body, bytes)
        return WireResponse(201, [("X-Host", request.host)], await request.body.read())


async def test_sites_of_their_own() -> None:
    async with rig(sites=[_Echo()]) as up:
        host = {"Host": "abc.lambda-url.us-east-1.localhost"}
        status, headers, body = await run(fetch, "POST", f"{up.url}/x", b"hello", host)
        assert (status, body) == (201, b"hello")
        assert headers["x-host"] == host["Host"]


async def test_sockets_of_environments(up: Rig) -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    port = listening.getsockname()[1]
    endpoint = up.server.serve_socket(listening, "env-7")
    await endpoint.ready()
    client = boto3.client(
        "lambda", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1",
        aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=2),
    )  # fmt: skip
    await run(client.invoke, FunctionName="f", Payload=b"1")
    assert up.functions.environments == ["env-7"]
    await run(up.client("lambda").invoke, FunctionName="f")
    assert up.functions.environments == ["env-7", ""]
    endpoint.close()
    endpoint.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    client.close()


async def test_a_graceful_stop(up: Rig) -> None:
    up.functions.gate.clear()
    client = up.client("lambda")
    running = asyncio.create_task(run(client.invoke, FunctionName="f", Payload=b'"last"'))
    await asyncio.wait_for(up.functions.started.wait(), 10)
    stopping = asyncio.create_task(up.server.stop(10))
    await asyncio.sleep(0)
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", up.server.port)
    assert not stopping.done()
    up.functions.gate.set()
    assert (await running)["Payload"].read() == b'"last"'
    assert await stopping is True


async def test_a_stop_that_waits_no_longer(up: Rig) -> None:
    up.functions.gate.clear()
    running = asyncio.create_task(run(up.client("lambda").invoke, FunctionName="f"))
    await asyncio.wait_for(up.functions.started.wait(), 10)
    assert await up.server.stop(0.05) is False
    with pytest.raises(Exception, match=r"(?i)connection|closed"):
        await running

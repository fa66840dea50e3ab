"""Bad input for a real platform: a clear error each time, nothing lost, and it goes on."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import io
import json
import os
import resource
import shutil
import socket
import sqlite3
import stat
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bench.host import Boda, package
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from support import waiting
from support.commands import run_cli

eventually = partial(waiting.eventually, timeout_s=10)

MIB = 1024 * 1024
ECHO = """
def lambda_handler(event, context):
    if isinstance(event, dict) and "letters" in event:
        return "x" * event["letters"]
    return type(event).__name__
"""


# Its lines are among what a full disk drops.
NOTE = """
import boto3, time

def lambda_handler(event, context):
    while True:
        try:
            return boto3.client("s3").put_object(Bucket="bucket", Key=f"noted/{event}")["ETag"]
        except Exception:
            time.sleep(0.2)
"""


@pytest.fixture(autouse=True)
def nothing_on_stderr(request: pytest.FixtureRequest) -> Iterator[None]:
    """No bad input is worth a traceback of the platform's."""
    if "boda" not in request.fixturenames:
        yield
        return
    boda = request.getfixturevalue("boda")
    before = boda.log.stat().st_size
    yield
    said = boda.log.read_bytes()[before:].decode("utf-8", "replace")
    assert "Traceback" not in said and "ASGI" not in said, said
    assert boda.client("sts").get_caller_identity()["Account"] == "000000000000"


def refused(call: Callable[..., Any], **params: Any) -> tuple[int, str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    status = caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
    return status, error["Code"], error.get("Message", "")


# Packages


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            entry = special(name, 0o644) if isinstance(name, str) else name
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    return memory.getvalue()


def special(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = mode << 16
    return entry


LINK = stat.S_IFLNK | 0o777
GOOD = package(ECHO)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (b"not a zip", "Could not unzip"),
        (GOOD[:-10], "Could not unzip"),
        (GOOD[10:], "Could not unzip"),
        (GOOD[:45] + bytes([GOOD[45] ^ 255]) + GOOD[46:], "Could not unzip"),
        (zipped(), "non-empty zip"),
        (zipped(("../x.py", b"1")), "leads out"),
        (zipped(("a/../../x.py", b"1")), "leads out"),
        (zipped(("/etc/cron.d/x", b"1")), "not a relative path"),
        (zipped(("a\\..\\..\\x", b"1")), "not a relative path"),
        (zipped((special("link", LINK), b"/etc/passwd")), "leads out"),
        (zipped((special("link", LINK), b".."), ("link/x", b"1")), "both a file and a folder"),
        (zipped((special("device", stat.S_IFCHR | 0o666), b"")), "neither a file nor a folder"),
        (zipped(("a", b"1"), ("a/b", b"2")), "both a file and a folder"),
        (zipped(("a" * 300, b"1")), "Could not unzip"),
        (zipped(("a", bytes(260 * MIB))), "Unzipped size must be smaller than 262144000 bytes"),
        (
            zipped(*((f"{number}", bytes(60 * MIB)) for number in range(5))),
            "Unzipped size must be smaller than 262144000 bytes",
        ),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "zip",
)
def test_bad_packages(boda: Boda, name: str, code: bytes, says: str) -> None:
    client = boda.client("lambda")
    kept = sorted(os.listdir(boda.folder / "code"))
    status, kind, message = refused(
        client.create_function,
        FunctionName=name,
        Runtime=boda.runtime(),
        Role=boda.role(),
        Handler="a.b",
        Code={"ZipFile": code},
    )
    assert (status, kind) == (400, "InvalidParameterValueException")
    assert says in message
    assert refused(client.get_function, FunctionName=name)[0] == 404
    assert sorted(os.listdir(boda.folder / "code")) == kept


def test_a_package_over_50_mb_is_refused_before_it_is_read(boda: Boda, name: str) -> None:
    status, kind, message = refused(
        boda.client("lambda").create_function,
        FunctionName=name,
        Runtime=boda.runtime(),
        Role=boda.role(),
        Handler="a.b",
        Code={"ZipFile": os.urandom(51 * MIB)},
    )
    assert (status, kind) == (413, "RequestEntityTooLargeException")
    assert "70167211 bytes for the CreateFunction operation" in message


# Functions and payloads


@pytest.fixture(scope="module")
def echo(boda: Boda) -> str:
    boda.function("echo-bad-input", ECHO, MemorySize=256)
    return "echo-bad-input"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Runtime": "cobol85"}, "InvalidParameterValueException"),
        ({"Runtime": "python2.7"}, "InvalidParameterValueException"),
        ({"Role": "arn:aws:iam::000000000000:role/nobody"}, "InvalidParameterValueException"),
        ({"Role": "arn:aws:iam::111111111111:role/theirs"}, "AccessDeniedException"),
        ({"Role": "nobody"}, "ValidationException"),
        ({"Handler": "two words"}, "ValidationException"),
        ({"MemorySize": 999_999}, "ValidationException"),
        ({"Timeout": 901}, "ValidationException"),
        ({"Environment": {"Variables": {"AWS_REGION": "x"}}}, "InvalidParameterValueException"),
        ({"Environment": {"Variables": {"A1": "x" * 4096}}}, "InvalidParameterValueException"),
        ({"FunctionName": "ünï"}, "ValidationException"),
        ({"FunctionName": ".."}, "ValidationException"),
        ({"FunctionName": "../../etc"}, "ValidationException"),
        ({"FunctionName": "a" * 65}, "InvalidParameterValueException"),
    ],
)
def test_bad_functions(boda: Boda, name: str, changes: dict[str, Any], code: str) -> None:
    params = {
        "FunctionName": name,
        "Runtime": boda.runtime(),
        "Role": boda.role(),
        "Handler": "lambda_function.lambda_handler",
        "Code": {"ZipFile": GOOD},
    }
    status, kind, _ = refused(boda.client("lambda").create_function, **(params | changes))
    assert (status, kind) in {(400, code), (403, code)}


@pytest.mark.parametrize(
    "payload",
    [b"{bad", b"\xff\xfe", b'{"a":1}more', b"[1,2", b"NaN", b'"\\ud800"', b"[" * 100_000,
     b'{"a":' * 100_000, b"\x00", b"\xef\xbb\xbf{}"],
)  # fmt: skip
def test_payloads_that_are_no_json(boda: Boda, echo: str, payload: bytes) -> None:
    for kind in ("RequestResponse", "Event"):
        status, code, message = refused(
            boda.client("lambda").invoke, FunctionName=echo, Payload=payload, InvocationType=kind
        )
        assert (status, code) == (400, "InvalidRequestContentException")
        assert message.startswith("Could not parse request body into json")


def test_six_megabytes_either_way(boda: Boda, echo: str) -> None:
    client = boda.client("lambda")
    limit = 6 * MIB + 100

    def text(size: int) -> bytes:
        return b'"' + b"a" * (size - 2) + b'"'

    answer = client.invoke(FunctionName=echo, Payload=text(limit))
    assert json.load(answer["Payload"]) == "str"
    assert refused(client.invoke, FunctionName=echo, Payload=text(limit + 1)) == (
        413,
        "RequestTooLargeException",
        f"Request must be smaller than {limit} bytes for the InvokeFunction operation",
    )
    client.invoke(FunctionName=echo, Payload=text(MIB), InvocationType="Event")
    status, code, _ = refused(
        client.invoke, FunctionName=echo, Payload=text(MIB + 1), InvocationType="Event"
    )
    assert (status, code) == (413, "RequestTooLargeException")

    fits = client.invoke(FunctionName=echo, Payload=json.dumps({"letters": limit - 2}).encode())
    assert len(fits["Payload"].read()) == limit and "FunctionError" not in fits
    over = client.invoke(FunctionName=echo, Payload=json.dumps({"letters": limit - 1}).encode())
    assert over["FunctionError"] == "Unhandled"
    assert json.load(over["Payload"])["errorType"] == "Function.ResponseSizeTooLarge"
    assert json.load(client.invoke(FunctionName=echo, Payload=b"[]")["Payload"]) == "list"


@pytest.mark.parametrize("mode", ["BUFFERED", "RESPONSE_STREAM"])
def test_function_urls_at_their_limits(boda: Boda, name: str, mode: str) -> None:
    boda.function(
        name,
        """
def lambda_handler(event, context):
    if event["rawPath"] == "/large":
        return "x" * int(event["rawQueryString"])
    return [len(event.get("body", "")), len(event["rawQueryString"])]
""",
    )
    host = boda.open_url(name, mode)

    def ask(path: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", boda.port, timeout=30)
        with contextlib.closing(connection):
            given = {"Host": host, "Content-Type": "text/plain", **headers}
            connection.request("POST", path, body, given)
            answer = connection.getresponse()
            return answer.status, answer.read()

    status, answer = ask("/", b"a" * (6 * MIB - 2000))
    assert (status, json.loads(answer)) == (200, [6 * MIB - 2000, 0])
    for size in (6 * MIB, 6 * MIB + 101, 20 * MIB):
        assert ask("/", b"a" * size) == (413, b'{"Message":"Request is too large."}')
    assert json.loads(ask("/?" + "q" * 1_000_000)[1]) == [0, 1_000_000]
    assert json.loads(ask("/", **{"X-Long": "h" * 1_000_000})[1]) == [0, 0]
    assert ask("/", **{"X-Long": "h" * 1_100_000})[0] == 431
    whole = 6 * MIB + 100 - 2  # an answer is JSON: two quotes
    status, answer = ask(f"/large?{whole}")
    assert status == 200 and len(answer) in (whole, whole + 2)
    assert ask(f"/large?{whole + 1}")[0] == 502


# Names


def unchecked(boda: Boda, service: str) -> Any:
    """A client that sends whatever it is given."""
    return boda.client(service, parameter_validation=False)


@pytest.mark.parametrize("bucket", ["..", "ünï", "A-B", "a..b", "192.168.1.1", "a" * 64, "x"])
def test_bad_bucket_names(boda: Boda, bucket: str) -> None:
    from botocore.handlers import validate_bucket_name

    client = unchecked(boda, "s3")
    client.meta.events.unregister("before-parameter-build.s3", validate_bucket_name)
    assert refused(client.create_bucket, Bucket=bucket)[:2] == (400, "InvalidBucketName")
    assert refused(client.get_object, Bucket=bucket, Key="k")[0] in (400, 404)


def test_any_key_is_a_name_and_no_path(boda: Boda, name: str) -> None:
    client = boda.client("s3")
    client.create_bucket(Bucket=name)
    for key in ("..", "../../etc/passwd"):  # they would lead out of the bucket
        assert refused(client.put_object, Bucket=name, Key=key)[:2] == (400, "InvalidURI")
    keys = ["a/..", "a/b/../../etc/passwd", "a/../b", "./x", "/lead", "a//b", "trail/", "\x01",
            "a\nb", "ünï/日本 + %&=?#.txt", "😀", "%2e%2e/%2fx", " spaced ", "a\\b", "<&>\"'",
            "\ufffe", "x" * 1024, "é" * 512]  # fmt: skip
    for key in keys:
        client.put_object(Bucket=name, Key=key, Body=key.encode())
    for key in keys:
        assert client.get_object(Bucket=name, Key=key)["Body"].read() == key.encode()
    listed = client.list_objects_v2(Bucket=name)["Contents"]
    assert {one["Key"] for one in listed} == set(keys)
    for key in ("x" * 1025, "é" * 513):
        assert refused(client.put_object, Bucket=name, Key=key)[:2] == (400, "KeyTooLongError")
    for key in keys:
        client.delete_object(Bucket=name, Key=key)
    client.delete_bucket(Bucket=name)


def test_bad_log_names(boda: Boda) -> None:
    client = unchecked(boda, "logs")
    for group in ("ünï", "a b", "a:b", "a*b", "", "a" * 513):
        status, code, _ = refused(client.create_log_group, logGroupName=group)
        assert (status, code) == (400, "InvalidParameterException")
    client.create_log_group(logGroupName="../../..")  # a name like any other on AWS
    client.create_log_stream(logGroupName="../../..", logStreamName="../ünï")
    client.delete_log_group(logGroupName="../../..")


# Signatures


def send(
    boda: Boda,
    service: str,
    path: str,
    *,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    change: Callable[[dict[str, str]], None] | None = None,
    key: str = "",
    secret: str = "",
    method: str = "GET",
) -> tuple[int, str]:
    """One request signed here, and changed after that. Status and the answer's text."""
    known = boda.keys
    made = AWSRequest(method, boda.url + path, headers or {}, body)
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    kind(Credentials(key or known[0], secret or known[1]), service, "us-east-1").add_auth(made)
    sent = dict(made.headers.items())
    if change is not None:
        change(sent)
    request = urllib.request.Request(boda.url + path, body or None, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


PLACES = [
    ("lambda", "/2015-03-31/functions/"),
    ("s3", "/"),
    ("sts", "/?Action=GetCallerIdentity&Version=2011-06-15"),
]


def _swap(old: str, new: str) -> Callable[[dict[str, str]], None]:
    def change(headers: dict[str, str]) -> None:
        assert old in headers["Authorization"]
        headers["Authorization"] = headers["Authorization"].replace(old, new)

    return change


@pytest.mark.parametrize(("service", "path"), PLACES)
def test_signatures_that_do_not_hold(boda: Boda, service: str, path: str) -> None:
    assert send(boda, service, path)[0] == 200
    for status, text in (
        send(boda, service, path, secret="another"),
        send(boda, service, path, change=_swap("Signature=", "Signature=0")),
        send(boda, service, path, change=lambda h: h.update({"X-Amz-Date": "20200101T000000Z"})),
        send(boda, service, path, change=_swap("/us-east-1/", "/eu-west-1/")),
    ):
        assert 400 <= status <= 403
        assert "ignature" in text or "Credential" in text or "TooSkewed" in text
    status, text = send(boda, service, path, key="AKIAUNKNOWN")
    assert status == 403 and ("security token" in text or "InvalidAccessKeyId" in text)


@pytest.mark.parametrize(("service", "path"), PLACES)
@pytest.mark.parametrize(
    "header",
    ["", "junk", "Bearer x", "Basic eDp4", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=",
     "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host", "AWS4-HMAC-SHA256 " + "," * 999,
     "AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=" + ";" * 9999 + ", Signature=x",
     "AWS4-HMAC-SHA256 Credential=" + "/" * 9999 + ", SignedHeaders=a, Signature=x"],
)  # fmt: skip
def test_malformed_headers(boda: Boda, service: str, path: str, header: str) -> None:
    status, text = send(
        boda, service, path, change=lambda headers: headers.update({"Authorization": header})
    )
    assert status in (400, 403)
    assert text


def test_a_body_that_was_not_signed(boda: Boda, name: str) -> None:
    boda.client("s3").create_bucket(Bucket=name)
    path = f"/{name}/k"

    def other(headers: dict[str, str]) -> None:
        headers["X-Amz-Content-SHA256"] = "0" * 64

    status, text = send(boda, "s3", path, body=b"data", method="PUT", change=other)
    assert (status in (400, 403) and "Mismatch" in text) or "Signature" in text
    assert refused(boda.client("s3").get_object, Bucket=name, Key="k")[0] == 404


def test_a_list_of_deletions_needs_a_digest(boda: Boda, name: str) -> None:
    client = boda.client("s3")
    client.create_bucket(Bucket=name)
    client.put_object(Bucket=name, Key="k", Body=b"data")
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"

    def delete(**headers: str) -> tuple[int, str]:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return send(boda, "s3", f"/{name}?delete", body=body, headers=named, method="POST")

    status, text = delete()
    assert status == 400 and "Content-MD5 OR x-amz-checksum-*" in text
    digest = base64.b64encode(hashlib.md5(body).digest()).decode()
    for wrong in ({"Content_MD5": digest[::-1]}, {"x_amz_checksum_crc32": "AAAAAA=="}):
        status, text = delete(**wrong)
        assert status == 400 and "Digest" in text
    assert client.get_object(Bucket=name, Key="k")["Body"].read() == b"data"
    assert delete(Content_MD5=digest)[0] == 200
    assert refused(client.head_object, Bucket=name, Key="k")[0] == 404
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    assert delete(x_amz_checksum_crc32=crc)[0] == 200


# Uploads and connections


def upload_head(boda: Boda, path: str, length: int) -> bytes:
    made = AWSRequest("PUT", boda.url + path, {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})

    class Unsigned(S3SigV4Auth):
        def payload(self, request: Any) -> str:
            return "UNSIGNED-PAYLOAD"

    Unsigned(Credentials(*boda.keys), "s3", "us-east-1").add_auth(made)
    lines = [f"PUT {path} HTTP/1.1", f"Host: 127.0.0.1:{boda.port}", f"Content-Length: {length}"]
    lines += [f"{key}: {value}" for key, value in made.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def test_aborted_uploads_leave_nothing(boda: Boda, name: str) -> None:
    client = boda.client("s3")
    client.create_bucket(Bucket=name)
    incoming = boda.folder / "blobs" / "incoming"
    for count in (0, 1, 5 * MIB):
        with socket.create_connection(("127.0.0.1", boda.port)) as one:
            one.sendall(upload_head(boda, f"/{name}/half", 10 * MIB) + b"x" * count)
            if count > 2 * MIB:
                eventually(lambda: bool(os.listdir(incoming)))
        eventually(lambda: not os.listdir(incoming))
    assert refused(client.head_object, Bucket=name, Key="half")[0] == 404
    assert "Contents" not in client.list_objects_v2(Bucket=name)


def test_a_slow_upload_arrives_while_others_work(boda: Boda, name: str) -> None:
    client = boda.client("s3")
    client.create_bucket(Bucket=name)
    with socket.create_connection(("127.0.0.1", boda.port)) as one:
        one.sendall(upload_head(boda, f"/{name}/slow", 20))
        for number in range(20):
            one.sendall(b"%d" % (number % 10))
            client.put_object(Bucket=name, Key=f"quick-{number}", Body=b"x")
        assert one.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert client.get_object(Bucket=name, Key="slow")["Body"].read() == b"01234567890123456789"


def test_a_thousand_idle_connections_are_nobodys_trouble(boda: Boda) -> None:
    with contextlib.ExitStack() as stack:
        for number in range(1000):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", boda.port)))
            if number % 2:
                one.sendall(b"GET / HT")
        client = boda.client("sts")
        client.get_caller_identity()
        waits = []
        for _ in range(20):
            began = time.perf_counter()
            client.get_caller_identity()
            waits.append(time.perf_counter() - began)
        assert sorted(waits)[10] < 0.2


def test_clients_that_hang_up_take_nothing_along(boda: Boda, name: str) -> None:
    """Before their body has come, while they wait, half-way through a stream: what they began
    runs to its end, then its concurrency is free again and no descriptor is left."""
    boda.function(
        name,
        """
import time

def lambda_handler(event, context):
    if event.get("body"):
        print("body")
    query = event.get("queryStringParameters", {})
    return stream() if "stream" in query else time.sleep(float(query.get("wait", 0)))

def stream():
    yield "first"
    time.sleep(1.5)
    for _ in range(32):
        yield b"x" * 65536
""",
    )
    client = boda.client("lambda")
    host = boda.open_url(name, "RESPONSE_STREAM")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    client.invoke(FunctionName=name)
    assert boda.process is not None
    place = f"/proc/{boda.process.pid}/fd"

    def begin(request: str) -> socket.socket:
        one = socket.create_connection(("127.0.0.1", boda.port), timeout=20)
        one.sendall(f"{request} HTTP/1.1\r\nHost: {host}\r\n".encode())
        return one

    def leave(one: socket.socket, abruptly: bool) -> None:
        if abruptly:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()

    def free() -> bool:
        time.sleep(0.1)  # it may be asked 20 times a second
        try:
            return "FunctionError" not in client.invoke(FunctionName=name)
        except ClientError as error:
            if not error.response["Reason"].startswith("ReservedFunctionConcurrent"):
                raise
            return False

    for request in ("GET /?wait=1.5", "GET /?stream=1"):
        for abruptly in (False, True):
            both = [begin(request) for _ in range(2)]
            for one in both:
                one.sendall(b"\r\n")
            eventually(lambda: not free())
            for one in both:
                leave(one, abruptly)
            assert not free(), "what they began goes on"
            eventually(free)
    before = len(os.listdir(place))
    for number in range(60):
        one = begin("POST /")
        one.sendall(b"Content-Length: 1000\r\n\r\n" + b"x" * number)
        leave(one, bool(number % 2))
    eventually(lambda: len(os.listdir(place)) <= before)
    assert free()
    logs = boda.client("logs")
    found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")["events"]
    assert not [one for one in found if one["message"].startswith("body")], "half of one is none"


def test_two_requests_cannot_be_made_of_one(boda: Boda) -> None:
    hidden = b"GET /_boda/health HTTP/1.1\r\nHost: x\r\n\r\n"
    for heads in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(hidden),
        b"Content-Length : 0\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Content-Length: 0\r\n X: folded\r\n",
    ):
        with socket.create_connection(("127.0.0.1", boda.port), timeout=5) as one:
            one.sendall(b"POST /b/k HTTP/1.1\r\nHost: x\r\n" + heads + b"\r\n0\r\n\r\n" + hidden)
            got = b""
            while piece := one.recv(65536):
                got += piece
        assert got.startswith(b"HTTP/1.1 400 ") and got.count(b"HTTP/1.1 ") == 1, heads


# What boda does not have


@pytest.mark.parametrize(
    ("service", "operation", "params"),
    [
        ("dynamodb", "list_tables", {}),  # json 1.0
        ("ecs", "list_clusters", {}),  # json 1.1
        ("rds", "describe_db_instances", {}),  # query
        ("ec2", "describe_instances", {}),  # ec2
        ("route53", "list_hosted_zones", {}),  # rest-xml
        ("scheduler", "list_schedules", {}),  # rest-json
        ("bedrock-runtime", "converse", {"modelId": "a", "messages": []}),
        ("arc-region-switch", "list_plans", {}),  # rpc-v2-cbor
        ("s3", "list_bucket_inventory_configurations", {"Bucket": "b"}),
        ("iam", "list_mfa_devices", {}),
        ("logs", "describe_destinations", {}),
    ],
)
def test_what_is_not_there_says_so(
    boda: Boda, service: str, operation: str, params: dict[str, Any]
) -> None:
    status, code, message = refused(getattr(boda.client(service), operation), **params)
    assert (status, code) == (501, "NotImplemented")
    name = "".join(word.capitalize() for word in operation.split("_")).replace("Db", "DB")
    assert message.endswith(f":{name.replace('Mfa', 'MFA')} yet.")


# Starting


def up(folder: Path, *options: str) -> str:
    """What a start that fails says."""
    done = run_cli(folder, "up", "--port", "0", *options)
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("boda: "), done.stderr
    return lines[0]


def test_a_database_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "boda.db").write_bytes(os.urandom(20_000))
    assert "is not a database" in up(tmp_path)
    assert (tmp_path / "boda.db").stat().st_size == 20_000


def test_a_damaged_database(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "boda.db")) as database:
        database.execute("create table t (a, b)")
        database.execute("create index i on t (b)")
        database.executemany("insert into t values (?, ?)", [(n, f"{n}" * 99) for n in range(999)])
        database.commit()
    with (tmp_path / "boda.db").open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\xa5" * 4096 * 3)
    said = up(tmp_path)
    assert "is damaged" in said or "malformed" in said


def test_a_table_of_another_shape(tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "boda.db")) as database:
        database.execute("create table lambda_functions (account text)")
        database.commit()
    assert "table lambda_functions has no" in up(tmp_path)


@pytest.mark.parametrize("part", ["blobs", "code", "sandbox", "boda.db", "lock"])
def test_something_in_a_folders_place(tmp_path: Path, part: str) -> None:
    if part in ("boda.db", "lock"):
        (tmp_path / part).mkdir()
    else:
        (tmp_path / part).write_text("in the way")
    assert str(tmp_path) in up(tmp_path)


@pytest.mark.parametrize("place", ["/dev/null", "/proc/boda", "{}/file", "{}/file/below"])
def test_no_place_for_a_folder(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be used" in up(Path(place.format(tmp_path)))


def test_hosts_that_are_not_ours(tmp_path: Path) -> None:
    for host in ("192.0.2.1", "no.such.host.invalid"):
        assert f"cannot listen on {host}" in up(tmp_path, "--host", host)


# Scarcity


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    def fill() -> None:
        with contextlib.suppress(OSError), (small_disk / "fill").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(65536))

    boda = Boda(small_disk / "data")
    boda.log = tmp_path / "log"
    with boda:
        role = boda.role()
        boda.function("echo", ECHO)
        s3, functions, logs = boda.client("s3"), boda.client("lambda"), boda.client("logs")
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="before", Body=b"b" * 50_000)
        logs.create_log_group(logGroupName="group")
        logs.create_log_stream(logGroupName="group", logStreamName="stream")
        functions.invoke(FunctionName="echo")
        boda.function("note", NOTE, Timeout=60, MemorySize=512)
        boda.function("cold", ECHO)
        asynchronous = {"InvocationType": "Event"}
        accepted: set[int] = set()

        def post(number: int) -> None:
            with contextlib.suppress(ClientError):
                functions.invoke(FunctionName="note", Payload=b"%d" % number, **asynchronous)
                accepted.add(number)

        for number in range(3):
            post(number)
        fill()

        made = {
            "Runtime": boda.runtime(),
            "Role": role,
            "Handler": "a.b",
            "Code": {"ZipFile": zipped(("a.py", os.urandom(300_000)))},
        }

        def event(text: str) -> dict[str, Any]:
            now = int(time.time() * 1000)
            return {
                "logGroupName": "group",
                "logStreamName": "stream",
                "logEvents": [{"timestamp": now, "message": text}],
            }

        kept: list[str] = []
        for number in range(20):
            with contextlib.suppress(ClientError):
                s3.put_object(Bucket="bucket", Key=f"small-{number}", Body=b"s" * 5000)
                kept.append(f"small-{number}")
        fill()
        for call, params, word in (
            (
                s3.put_object,
                {"Bucket": "bucket", "Key": "big", "Body": bytes(5 * MIB)},
                "ServiceUnavailable",
            ),
            (s3.create_bucket, {"Bucket": "another"}, "ServiceUnavailable"),
            (functions.create_function, {"FunctionName": "new", **made}, "ServiceException"),
            (logs.put_log_events, event("x" * 200_000), "ServiceUnavailableException"),
            (logs.create_log_group, {"logGroupName": "g"}, "ServiceUnavailableException"),
            (boda.client("iam").create_user, {"UserName": "ann"}, "ServiceUnavailable"),
        ):
            status, code, message = refused(call, **params)
            assert (status, code) == (503, word) and message, (call, status, code)
        eventually(lambda: _reasons(boda) & {"disk", "database"})
        doctor = run_cli(boda.folder, "doctor", "--json")
        told = json.loads(doctor.stdout)
        assert doctor.returncode == 1 and told["StrongEnough"], told
        assert {one.partition(":")[0] for one in told["Reasons"]} >= {"disk"}, told["Reasons"]
        said = boda.log.read_text()
        assert all(reason.partition(" (")[0] in said for reason in _health(boda)["reasons"])
        large = b'"%s"' % (b"x" * 60_000)
        for _ in range(30):
            status, code, _ = refused(
                functions.invoke, FunctionName="echo", Payload=large, **asynchronous
            )
            assert (status, code) == (503, "ServiceException")
        for number in range(3, 20):
            post(number)
        # What needs no disk goes on. A new environment's /tmp is a file there: one made ahead may
        # be left, or the caller is told.
        assert json.load(functions.invoke(FunctionName="echo")["Payload"]) == "dict"
        with contextlib.suppress(functions.exceptions.ServiceException):
            assert json.load(functions.invoke(FunctionName="cold")["Payload"]) == "dict"
        assert s3.get_object(Bucket="bucket", Key="before")["Body"].read() == b"b" * 50_000
        assert not os.listdir(small_disk / "data" / "blobs" / "incoming")
        assert refused(functions.get_function, FunctionName="new")[0] == 404

        (small_disk / "fill").unlink()
        # What was dropped meanwhile is told of for a while yet.
        eventually(lambda: _reasons(boda) <= {"drops"})
        s3.put_object(Bucket="bucket", Key="after", Body=bytes(MIB))
        functions.create_function(FunctionName="new", **made)
        assert json.load(functions.invoke(FunctionName="cold")["Payload"]) == "dict"
        functions.invoke(FunctionName="echo", Payload=b"1", **asynchronous)
        post(20)
        assert {0, 1, 2, 20} <= accepted
        waiting.eventually(lambda: accepted <= _noted(s3), timeout_s=60)
        logs.put_log_events(**event("after"))
        boda.client("iam").create_user(UserName="ann")
        for _ in range(2):
            s3 = boda.client("s3")
            listed = {one["Key"] for one in s3.list_objects_v2(Bucket="bucket")["Contents"]}
            assert {one for one in listed if "noted" not in one} == {"before", "after", *kept}
            for key in kept:
                assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == b"s" * 5000
            boda.stop()
            boda.start()
    said = boda.log.read_text()
    assert "Traceback" not in said, said
    assert said.count("cannot be written") < 10, "once for each time that it begins"


def _health(boda: Boda) -> dict[str, Any]:
    with urllib.request.urlopen(f"{boda.url}/_boda/health", timeout=5) as answer:
        return dict(json.load(answer))


def _reasons(boda: Boda) -> set[str]:
    """The names of what is wrong."""
    return {reason.partition(":")[0] for reason in _health(boda)["reasons"]}


def _noted(s3: Any) -> set[int]:
    found = s3.list_objects_v2(Bucket="bucket", Prefix="noted/").get("Contents", [])
    return {int(one["Key"].partition("/")[2]) for one in found}


def test_a_start_on_a_full_disk(small_disk: Path) -> None:
    with contextlib.suppress(OSError), (small_disk / "fill").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(65536))
    (small_disk / "data").mkdir()
    said = up(small_disk / "data")
    assert "space" in said and "isolation" not in said, said


def test_a_folder_that_is_removed_under_a_running_platform(tmp_path: Path) -> None:
    """Nothing can be written from then on: no service acknowledges anything, each in its own
    words, and all of them still read."""
    boda = Boda(tmp_path / "data")
    boda.log = tmp_path / "log"
    with boda:
        s3, functions = boda.client("s3"), boda.client("lambda")
        iam, logs = boda.client("iam"), boda.client("logs")
        role = boda.role()
        boda.function("f", ECHO)
        arn = functions.publish_version(FunctionName="f")["FunctionArn"]
        bucket = {"Bucket": "bucket"}
        s3.create_bucket(**bucket)
        s3.put_object(**bucket, Key="k", Body=b"1")
        upload = s3.create_multipart_upload(**bucket, Key="m")["UploadId"]
        iam.create_user(UserName="ann")
        stream = {"logGroupName": "group", "logStreamName": "stream"}
        logs.create_log_group(logGroupName="group")
        logs.create_log_stream(**stream)
        functions.invoke(FunctionName="f")
        while (tmp_path / "data").exists():  # a start may still write something there
            shutil.rmtree(tmp_path / "data", ignore_errors=True)
        said = up(tmp_path / "data")
        assert "was removed while another boda" in said, said
        code = {"ZipFile": zipped(("a.py", b"x = 1"))}
        tags = {"TagSet": [{"Key": "a", "Value": "b"}]}
        f, one = {"FunctionName": "f"}, {"FunctionName": "f", "FunctionVersion": "1"}
        now = int(time.time() * 1000)
        writes: dict[tuple[Any, str], list[tuple[str, dict[str, Any]]]] = {
            (s3, "ServiceUnavailable"): [
                ("create_bucket", {"Bucket": "another"}),
                ("put_object", {**bucket, "Key": "small", "Body": b"1"}),
                ("put_object", {**bucket, "Key": "big", "Body": bytes(MIB)}),
                ("copy_object", {**bucket, "Key": "c", "CopySource": "bucket/k"}),
                ("delete_object", {**bucket, "Key": "k"}),
                ("put_object_tagging", {**bucket, "Key": "k", "Tagging": tags}),
                ("put_bucket_tagging", {**bucket, "Tagging": tags}),
                (
                    "put_bucket_versioning",
                    {**bucket, "VersioningConfiguration": {"Status": "Enabled"}},
                ),
                ("create_multipart_upload", {**bucket, "Key": "n"}),
                (
                    "upload_part",
                    {**bucket, "Key": "m", "UploadId": upload, "PartNumber": 1, "Body": b"1"},
                ),
                ("abort_multipart_upload", {**bucket, "Key": "m", "UploadId": upload}),
            ],
            (functions, "ServiceException"): [
                (
                    "create_function",
                    {
                        "FunctionName": "g",
                        "Runtime": boda.runtime(),
                        "Role": role,
                        "Handler": "a.b",
                        "Code": code,
                    },
                ),
                ("update_function_code", {**f, **code}),
                ("update_function_configuration", {**f, "Timeout": 9}),
                ("create_alias", {**one, "Name": "live"}),
                ("put_function_concurrency", {**f, "ReservedConcurrentExecutions": 1}),
                ("put_function_event_invoke_config", {**f, "MaximumRetryAttempts": 1}),
                ("create_function_url_config", {**f, "AuthType": "NONE"}),
                ("tag_resource", {"Resource": arn.rpartition(":")[0], "Tags": {"a": "b"}}),
                ("publish_layer_version", {"LayerName": "l", "Content": code}),
                ("invoke", {**f, "InvocationType": "Event"}),
                ("delete_function", f),
            ],
            (iam, "ServiceUnavailable"): [
                ("create_user", {"UserName": "bob"}),
                ("create_access_key", {"UserName": "ann"}),
                ("delete_role_policy", {"RoleName": "bench", "PolicyName": "all"}),
                ("delete_user", {"UserName": "ann"}),
            ],
            (logs, "ServiceUnavailableException"): [
                ("create_log_group", {"logGroupName": "another"}),
                ("create_log_stream", {"logGroupName": "group", "logStreamName": "another"}),
                (
                    "put_log_events",
                    {**stream, "logEvents": [{"timestamp": now, "message": "x"}]},
                ),
                ("put_retention_policy", {"logGroupName": "group", "retentionInDays": 7}),
                ("delete_log_stream", stream),
            ],
        }
        for (client, word), calls in writes.items():
            for operation, params in calls:
                found = refused(getattr(client, operation), **params)
                assert found[:2] == (503, word), (operation, found)
        assert [one["Key"] for one in s3.list_objects_v2(**bucket)["Contents"]] == ["k"]
        assert s3.get_object(**bucket, Key="k")["Body"].read() == b"1"
        assert functions.get_function_configuration(**f)["Timeout"] != 9
        assert functions.list_aliases(**f)["Aliases"] == []
        assert [one["UserName"] for one in iam.list_users()["Users"]] == ["ann"]
        assert len(logs.describe_log_streams(logGroupName="group")["logStreams"]) == 1
        assert json.load(functions.invoke(**f)["Payload"]) == "dict"
        assert logs.filter_log_events(logGroupName="group")["events"] == []
        assert _health(boda)["status"] == "degraded"
        assert "removed" in " ".join(_health(boda)["reasons"])
    assert "Traceback" not in boda.log.read_text()


FEW_DESCRIPTORS = """
import ctypes, os, resource, sys
CAPBSET_DROP = SYS_RESOURCE = 24
ctypes.CDLL(None).prctl(CAPBSET_DROP, SYS_RESOURCE, 0, 0, 0)  # root would raise its own limit
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 1300))
os.execv({0!r}, [{0!r}, *sys.argv[1:]])
"""


def test_more_connections_than_descriptors(tmp_path: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2000:
        pytest.skip("needs a few thousand descriptors of its own")
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable} -IS\n{FEW_DESCRIPTORS.format(sys.executable)}")
    python.chmod(0o755)
    boda = Boda(tmp_path / "data", python=str(python))
    boda.start()
    try:
        assert boda.process is not None
        assert resource.prlimit(boda.process.pid, resource.RLIMIT_NOFILE)[1] == 1300
        boda.function("echo", ECHO)
        with contextlib.ExitStack() as stack:
            # Half of the descriptors are clients'; the oldest of these go for the others.
            held = [
                stack.enter_context(socket.create_connection(("127.0.0.1", boda.port), 60))
                for _ in range(800)
            ]
            held[-1].sendall(b"GET /_boda/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert held[-1].recv(100).startswith(b"HTTP/1.1 200 ")
            answer = boda.client("lambda").invoke(FunctionName="echo")
            assert json.load(answer["Payload"]) == "dict"
    finally:
        boda.stop()
    assert "Traceback" not in boda.log.read_text()

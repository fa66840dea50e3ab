"""What a web page makes its reader's browser send, in both modes: nothing comes of it."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from bench.host import Boda

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="full isolation is tried as root")

EVIL = "https://evil.example"
FORM = "application/x-www-form-urlencoded"
WHO = """
import boto3
def lambda_handler(event, context):
    return boto3.client("sts").get_caller_identity()["Arn"]
"""


@pytest.fixture(scope="module", params=["sigv4", "open"])
def boda(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boda]:
    folder = tmp_path_factory.mktemp("pages") / "data"
    with Boda(folder, "--auth", request.param, "--server-name", "aws.example.com") as running:
        running.function("who", WHO)
        s3 = running.client("s3")
        for name in ("public", "shared"):
            s3.create_bucket(Bucket=name)
            s3.delete_public_access_block(Bucket=name)
            everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:*"}
            everybody["Resource"] = f"arn:aws:s3:::{name}/*"
            policy = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
            s3.put_bucket_policy(Bucket=name, Policy=policy)
            s3.put_object(Bucket=name, Key="k", Body=b"kept")
        rule = {"AllowedOrigins": ["https://app.example"], "AllowedMethods": ["PUT", "GET"]}
        s3.put_bucket_cors(Bucket="shared", CORSConfiguration={"CORSRules": [rule]})
        yield running
    said = running.log.read_text()
    assert "Traceback" not in said, said


def is_open(boda: Boda) -> bool:
    return "open" in boda.options


def send(
    boda: Boda, method: str, path: str, body: bytes = b"", host: str = "", **headers: str
) -> tuple[int, bytes]:
    there = http.client.HTTPConnection("127.0.0.1", boda.port, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named["Host"] = host or f"127.0.0.1:{boda.port}"
        there.request(method, path, body or None, named)
        answer = there.getresponse()
        return answer.status, answer.read()
    finally:
        there.close()


def query(**params: str) -> str:
    return urlencode({"Version": "2010-05-08", **params})


ATTACKS = {
    "a form": ("POST", "/", query(Action="CreateUser", UserName="evil").encode(), FORM),
    "an image": ("GET", "/?" + query(Action="CreateUser", UserName="evil"), b"", ""),
    "an invocation": ("POST", "/2015-03-31/functions/who/invocations", b"{}", "text/plain"),
    "a deletion": ("DELETE", "/2015-03-31/functions/who", b"", ""),
    "a list": ("GET", "/2015-03-31/functions/", b"", ""),
    "a bucket": ("PUT", "/evil", b"", ""),
    "an object": ("PUT", "/public/k", b"evil", "text/plain"),
    "no object more": ("DELETE", "/public/k", b"", ""),
    "other rules": ("PUT", "/shared?cors", b"<CORSConfiguration/>", "text/plain"),
}


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost.evil.example", "cross-site"])
@pytest.mark.parametrize("attack", list(ATTACKS))
def test_pages_of_others_change_and_read_nothing(boda: Boda, attack: str, origin: str) -> None:
    method, path, body, kind = ATTACKS[attack]
    headers = {"Content_Type": kind} if kind else {}
    if origin == "cross-site":
        headers["Sec_Fetch_Site"] = "cross-site"
    else:
        headers["Origin"] = origin
    status, answer = send(boda, method, path, body, **headers)
    assert status == 403, answer
    assert b"evil" not in json.dumps(boda.client("iam").list_users()["Users"], default=str).encode()
    assert boda.client("s3").get_object(Bucket="public", Key="k")["Body"].read() == b"kept"
    boda.client("lambda").get_function(FunctionName="who")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{}", "localhost.evil.example"])
@pytest.mark.parametrize("attack", [*ATTACKS, "health", "preflight"])
def test_names_that_lead_here_are_not_ours(boda: Boda, attack: str, host: str) -> None:
    """DNS rebinding: to the browser, the page and boda are one site then."""
    if attack == "preflight":
        ask = ("OPTIONS", "/shared/k", b"", "")
    else:
        ask = ATTACKS.get(attack) or ("GET", "/_boda/health", b"", "")
    method, path, body, kind = ask
    headers = {"Content_Type": kind} if kind else {}
    named = host.format(boda.port)
    for _ in range(3):  # also once it has been seen before
        status, answer = send(boda, method, path, body, named, Origin=f"http://{named}", **headers)
        assert status == 403
        assert b"is no name of this platform" in answer
    assert boda.client("s3").get_object(Bucket="public", Key="k")["Body"].read() == b"kept"


def test_names_of_ours(boda: Boda) -> None:
    for host in ("localhost", "aws.example.com", "AWS.example.com:8080", "[::1]:80"):
        assert send(boda, "GET", "/_boda/health", host=host)[0] == 200
    assert send(boda, "GET", "/k", host="public.s3.localhost")[0] == 200
    for origin in ("http://localhost:3000", "https://aws.example.com"):
        assert send(boda, "GET", "/_boda/health", Origin=origin)[0] == 200
    assert send(boda, "GET", "/_boda/health", Origin=EVIL)[0] == 403


def test_what_a_buckets_rules_allow(boda: Boda) -> None:
    put = {"Origin": "https://app.example", "Content_Type": "text/plain"}
    assert send(boda, "PUT", "/shared/new", b"1", **put)[0] == 200
    assert send(boda, "GET", "/shared/new", **put)[0] == 200
    assert send(boda, "DELETE", "/shared/new", **put)[0] == 403
    assert send(boda, "PUT", "/public/new", b"1", **put)[0] == 403
    assert send(boda, "PUT", "/shared/new", b"2", **{**put, "Origin": EVIL})[0] == 403
    asked = {"Access_Control_Request_Method": "PUT"}
    assert send(boda, "OPTIONS", "/shared/new", Origin="https://app.example", **asked)[0] == 200
    assert send(boda, "OPTIONS", "/shared/new", Origin=EVIL, **asked)[0] == 403


def test_what_everybody_may_read_can_be_shown(boda: Boda) -> None:
    """An image's address, which no page can read itself; with an Origin as S3 answers it."""
    image = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}
    assert send(boda, "GET", "/public/k", **image) == (200, b"kept")
    status, _ = send(boda, "GET", "/public/k", Origin=EVIL)
    assert status == (403 if is_open(boda) else 200)


def test_signed_requests_of_pages(boda: Boda) -> None:
    """A page that holds keys, or was given a presigned URL, proves that its user means it."""
    url = boda.client("s3").generate_presigned_url(
        "put_object", {"Bucket": "public", "Key": "signed"}
    )
    parts = urlsplit(url)
    status, answer = send(boda, "PUT", f"{parts.path}?{parts.query}", b"1", Origin=EVIL)
    # Where nothing is verified a signature proves nothing.
    assert status == (403 if is_open(boda) else 200), answer


def test_function_urls(boda: Boda) -> None:
    client = boda.client("lambda")
    host = boda.open_url("who")
    try:
        for _ in range(3):
            assert send(boda, "POST", "/", b"{}", host, Origin=EVIL)[0] == 200
        client.update_function_url_config(FunctionName="who", AuthType="AWS_IAM")
        assert send(boda, "POST", "/", b"{}", host, Origin=EVIL)[0] == 403
        assert send(boda, "GET", "/", b"", host, Sec_Fetch_Site="cross-site")[0] == 403
        assert send(boda, "POST", "/", b"{}", host)[0] == (200 if is_open(boda) else 403)
        if is_open(boda):
            cors = {"AllowOrigins": [EVIL]}
            client.update_function_url_config(FunctionName="who", Cors=cors)
            assert send(boda, "POST", "/", b"{}", host, Origin=EVIL)[0] == 200
            other = "https://other.example"
            assert send(boda, "POST", "/", b"{}", host, Origin=other)[0] == 403
    finally:
        client.delete_function_url_config(FunctionName="who")
        client.remove_permission(FunctionName="who", StatementId="url")


def test_a_function_is_its_role(boda: Boda) -> None:
    answer = boda.client("lambda").invoke(FunctionName="who")
    assert json.loads(answer["Payload"].read()) == (
        "arn:aws:sts::000000000000:assumed-role/bench/who"
    )


def test_a_key_that_is_known_is_its_owners(boda: Boda) -> None:
    iam = boda.client("iam")
    user = iam.create_user(UserName="ann")["User"]["Arn"]
    key = iam.create_access_key(UserName="ann")["AccessKey"]
    secret = "a guess" if is_open(boda) else key["SecretAccessKey"]
    sts = boda.client("sts", key=key["AccessKeyId"], secret=secret)
    assert sts.get_caller_identity()["Arn"] == user
    if is_open(boda):
        assert boda.client("sts", key="111111111111", secret="x").get_caller_identity() | {
            "ResponseMetadata": None
        } == {
            "Account": "111111111111",
            "Arn": "arn:aws:iam::111111111111:root",
            "UserId": "111111111111",
            "ResponseMetadata": None,
        }

"""Nothing dear before somebody may: what large bodies may make the gateway do.

A request is sent without its body. Whoever is refused all the same was refused by the head alone:
the body was not read, so it was not parsed either.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from bench import signing
from bench.host import Boda
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel

from boda.gateway.calling.validation import Validator
from boda.gateway.http.limits import Limits
from support.rig import KEY, SECRET, Rig, rig
from support.wire import Line, plain

LARGE = 15 * 1024 * 1024
DIGEST = hashlib.sha256(b"").hexdigest()
_LABELS = {
    "{FunctionName}": "victim", "{Bucket}": "victim", "{Key+}": "key",
    "{UUID}": "01234567-89ab-4cde-8f01-23456789abcd",
    "{Resource}": "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Avictim",
    "{ResourceArn}": "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Afunction%3Avictim",
    "{CodeSigningConfigArn}":
        "arn%3Aaws%3Alambda%3Aus-east-1%3A000000000000%3Acode-signing-config%3Acsc-0123456789abcdef0",
    "{Name}": "a", "{VersionNumber}": "1", "{LayerName}": "l", "{StatementId}": "s",
}  # fmt: skip


@pytest.fixture(scope="module")
def boda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boda]:
    with Boda(tmp_path_factory.mktemp("bodies") / "data", "--auth", "sigv4") as running:
        running.client("s3").create_bucket(Bucket="victim")
        yield running
    said = running.log.read_text()
    assert "Traceback" not in said, said


@pytest.fixture(scope="module")
def nobody(boda: Boda) -> tuple[str, str]:
    """The key of a user whom no policy allows anything."""
    iam = boda.client("iam")
    iam.create_user(UserName="nobody")
    made = iam.create_access_key(UserName="nobody")["AccessKey"]
    return made["AccessKeyId"], made["SecretAccessKey"]


def operations() -> list[tuple[str, OperationModel]]:
    """Those of the REST services that have a body."""
    found = []
    for service in ("lambda", "s3"):
        model = ServiceModel(Loader().load_service_model(service, "service-2"), service)
        for name in model.operation_names:
            operation = model.operation_model(name)
            shape = operation.input_shape
            if shape is not None and any(
                not member.serialization.get("location") for member in shape.members.values()
            ):
                found.append((service, operation))
    return found


def target(operation: OperationModel) -> str:
    path, _, query = str(operation.http["requestUri"]).partition("?")
    for label, value in _LABELS.items():
        path = path.replace(label, value)
    parts = [query] if query else []
    for name, member in operation.input_shape.members.items():
        if member.serialization.get("location") == "querystring" and (
            name in operation.input_shape.required_members
        ):
            parts.append(f"{member.serialization.get('name', name)}=1")
    return path + ("?" + "&".join(parts) if parts else "")


def head_of(boda: Boda, service: str, operation: OperationModel, key: tuple[str, str]) -> bytes:
    """A signed request's head; its body would be large and never comes."""
    headers = {"X-Amz-Content-Sha256": DIGEST, "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}
    request = signing.signed(
        f"{boda.url}{target(operation)}",
        operation.http["method"],
        b"",
        service=service,
        key=key[0],
        secret=key[1],
        headers=headers,
    )
    return request.replace(b"Content-Length: 0\r\n", b"Content-Length: %d\r\n" % LARGE)


async def answered(port: int, head: bytes) -> bytes:
    line = await Line.open(port)
    try:
        return await line.ask(head)
    finally:
        line.close()


async def test_who_may_not_is_refused_before_the_body(boda: Boda, nobody: tuple[str, str]) -> None:
    tried = 0
    for service, operation in operations():
        if operation.name == "DeleteObjects":  # each key is allowed, or refused, by itself
            continue
        answer = await answered(boda.port, head_of(boda, service, operation, nobody))
        if not answer.startswith(b"HTTP/1.1 501 "):
            assert answer.startswith(b"HTTP/1.1 403 "), (operation.name, answer)
            assert b"AccessDenied" in answer, (operation.name, answer)
            tried += 1
    assert tried > 40


async def test_the_unsigned_are_refused_before_the_body(boda: Boda) -> None:
    tried = 0
    for _, operation in operations():
        fields = {
            "Host": f"127.0.0.1:{boda.port}",
            "Content-Length": str(LARGE),
        }
        if operation.name == "DeleteObjects":  # anybody may ask; each key is refused by itself
            continue
        answer = await answered(
            boda.port, plain(operation.http["method"], target(operation), fields)
        )
        if not answer.startswith(b"HTTP/1.1 501 "):
            assert answer.startswith(b"HTTP/1.1 403 "), (operation.name, answer)
            tried += 1
    assert tried > 40


async def test_unknown_keys_are_refused_before_the_body(boda: Boda) -> None:
    for service, operation in operations():
        answer = await answered(boda.port, head_of(boda, service, operation, ("AKIAX", "y")))
        assert answer.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 501 ")), answer


async def test_who_may_do_it_to_nothing_is_refused_before_the_body_names_it(
    boda: Boda, nobody: tuple[str, str]
) -> None:
    """Who may to something is asked once the body is here, and who may not to that, then."""
    digest = {"X-Amz-Content-Sha256": DIGEST}
    logs = {**digest, "X-Amz-Target": "Logs_20140328.PutLogEvents"}
    for service, path, headers, action in (
        ("logs", "/", logs, "logs:PutLogEvents"),
        ("lambda", "/2015-03-31/functions", digest, "lambda:CreateFunction"),
        ("lambda", "/2015-03-31/event-source-mappings", digest, "lambda:CreateEventSourceMapping"),
    ):
        request = signing.signed(
            f"{boda.url}{path}", "POST", b"", service=service, key=nobody[0], secret=nobody[1],
            headers=headers,
        )  # fmt: skip
        head = request.replace(b"Content-Length: 0\r\n", b"Content-Length: 800000\r\n")
        answer = await answered(boda.port, head)
        assert b"AccessDenied" in answer, answer
        assert f"{action} on resource: *".encode() in answer, answer
    iam = boda.client("iam")
    iam.create_user(UserName="somebody")
    made = iam.create_access_key(UserName="somebody")["AccessKey"]
    one = "arn:aws:lambda:us-east-1:000000000000:function:one"
    allowed = {"Effect": "Allow", "Action": "lambda:CreateFunction", "Resource": one}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="somebody", PolicyName="p", PolicyDocument=policy)
    for name, refused in (("one", b"iam:PassRole"), ("two", b"function:two")):
        code = {
            "FunctionName": name,
            "Runtime": "python3.11",
            "Handler": "a.b",
            "Role": "arn:aws:iam::000000000000:role/r",
            "Code": {"ZipFile": "QUJD" * 50_000},
        }
        request = signing.signed(
            f"{boda.url}/2015-03-31/functions", "POST", json.dumps(code).encode(),
            service="lambda", key=made["AccessKeyId"], secret=made["SecretAccessKey"],
        )  # fmt: skip
        answer = await answered(boda.port, request)
        assert answer.startswith(b"HTTP/1.1 403 ") and refused in answer, (name, answer)


@pytest.mark.parametrize(
    ("service", "headers"),
    [
        ("logs", {"X-Amz-Target": "Logs_20140328.PutLogEvents"}),
        ("iam", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("sts", {"Content-Type": "application/x-www-form-urlencoded"}),
        ("lambda", {}),
    ],
)
async def test_bodies_are_limited_by_operation(
    boda: Boda, service: str, headers: dict[str, str]
) -> None:
    """Of root, who may: by the length that is announced."""
    path = "/2015-03-31/functions/victim/aliases" if service == "lambda" else "/"
    request = signing.signed(
        f"{boda.url}{path}", "POST", b"", service=service, key=boda.keys[0],
        secret=boda.keys[1], headers=headers,
    )  # fmt: skip
    head = request.replace(b"Content-Length: 0\r\n", b"Content-Length: %d\r\n" % LARGE)
    answer = await answered(boda.port, head)
    assert answer.startswith(b"HTTP/1.1 413 ") and b"RequestEntityTooLarge" in answer, answer


async def test_a_function_url_reads_nothing_of_who_may_not(boda: Boda) -> None:
    boda.function("victim", "def lambda_handler(event, context): return 1")
    made = boda.client("lambda").create_function_url_config(FunctionName="victim", AuthType="NONE")
    host = made["FunctionUrl"].split("/")[2]
    fields = {"Host": host, "Content-Length": "5000000"}
    answer = await answered(boda.port, plain("POST", "/", fields))
    assert answer.startswith(b"HTTP/1.1 403 "), answer


# What is parsed, is parsed elsewhere, and only so far


@pytest.fixture
async def up() -> AsyncIterator[Rig]:
    async with rig() as made:
        yield made


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads in which bodies are parsed and validated."""
    seen: list[int] = []
    check = Validator.check

    def noted(self: Validator, operation: Any, params: Any) -> None:
        seen.append(threading.get_ident())
        check(self, operation, params)

    monkeypatch.setattr(Validator, "check", noted)
    return seen


def _delete(up: Rig, keys: int, key: bytes = b"k") -> bytes:
    body = b"<Delete>" + b"<Object><Key>%b</Key></Object>" % key * keys + b"</Delete>"
    return _signed(up, "s3", "POST", "/b?delete", body)


def _signed(up: Rig, service: str, method: str, path: str, body: bytes, **headers: str) -> bytes:
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return signing.signed(
        f"{up.url}{path}", method, body, service=service, key=KEY, secret=SECRET,
        headers={"Content-MD5": base64.b64encode(digest).decode(), **headers},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "size", "beside"),
    [(3, 10, False), (500, 1000, True), (1500, 1, True)],
)
async def test_large_bodies_are_parsed_beside_the_event_loop(
    up: Rig, threads: list[int], keys: int, size: int, beside: bool
) -> None:
    answer = await answered(up.server.port, _delete(up, keys, b"k" * size))
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert (threads[-1] != threading.get_ident()) is beside


@pytest.mark.parametrize(
    "body",
    [
        b'{"Layers":[' + b'"arn:aws:lambda:us-east-1:000000000000:layer:l:1",' * 280_000,
        b'{"Layers":[' + b"[]," * 4_000_000,
        b'{"Timeout":' + b"9" * 14_000_000,
        b'{"Handler":"' + b"a" * 14_000_000 + b'"}',
        b"[" * 14_000_000,
        b'{"Tags":{' + b",".join(b'"%d":"v"' % number for number in range(700_000)),
    ],
    ids=["layers", "lists", "digits", "text", "brackets", "tags"],
)
async def test_parsers_stop(boda: Boda, body: bytes) -> None:
    """A list that is too long, a number, a text, a depth: at its bound, and not at the end, which
    is missing; and the error is short."""
    request = signing.signed(
        f"{boda.url}/2015-03-31/functions", "POST", body, service="lambda", key=boda.keys[0],
        secret=boda.keys[1],
    )  # fmt: skip
    answer = await answered(boda.port, request)
    assert b"SerializationException" in answer and len(answer) < 2000, answer[:500]


async def test_a_body_that_waits_for_its_turn_may_be_given_up() -> None:
    """Bodies that are not parsed yet count as those that have not come whole."""
    async with rig(limits=Limits(held_bytes=150_000, parsers=1)) as up:
        request = _delete(up, 100, b"k" * 1000)
        answers = await asyncio.gather(*(answered(up.server.port, request) for _ in range(8)))
        good = [one for one in answers if one.startswith(b"HTTP/1.1 200 ")]
        given_up = [one for one in answers if one.startswith(b"HTTP/1.1 503 ")]
        assert good and len(good) + len(given_up) == len(answers)
        assert (await answered(up.server.port, request)).startswith(b"HTTP/1.1 200 ")


async def test_a_wrong_head_is_told_with_what_is_wrong_in_a_small_body(boda: Boda) -> None:
    """As AWS does; of a large body nothing is looked at."""
    key, secret = boda.keys
    url = f"{boda.url}/2015-03-31/functions/%21/aliases"
    small = signing.signed(url, "POST", b"{}", service="lambda", key=key, secret=secret)
    answer = await answered(boda.port, small)
    assert b"'functionVersion'" in answer and b"'functionName'" in answer, answer
    large = b'{"Description":"' + b"x" * 100_000 + b'"}'
    answer = await answered(
        boda.port, signing.signed(url, "POST", large, service="lambda", key=key, secret=secret)
    )
    assert b"1 validation error" in answer and b"'functionName'" in answer, answer


async def test_what_was_parsed_is_not_held_any_more(up: Rig) -> None:
    request = _delete(up, 500, b"k" * 1000)
    await asyncio.gather(*(answered(up.server.port, request) for _ in range(4)))
    assert up.gateway._intake.total == 0

"""Every operation of every service, asked with nonsense that has the shape of its model.

The platform runs in open mode, so that nothing is refused before it is read. Whatever comes back,
it is an answer in time, and never the platform's own failure.
"""

from __future__ import annotations

import functools
import http.client
import json
import random
import string
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from bench.host import Boda
from botocore.awsrequest import create_request_object, prepare_request_dict
from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SERVICES = ("lambda", "iam", "sts", "logs", "s3")
_ENDLESS = {"StartLiveTail"}
_KNOWN = {
    "FunctionName": "fuzzed",
    "Bucket": "fuzzed",
    "Key": "key",
    "RoleName": "fuzzed",
    "UserName": "fuzzed",
    "logGroupName": "fuzzed",
    "logGroupNames": "fuzzed",
    "logStreamName": "fuzzed",
    "Role": "arn:aws:iam::000000000000:role/fuzzed",
    "Handler": "a.b",
    "Runtime": "python3.11",
    "PolicyArn": "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",
    "PolicyDocument": '{"Version":"2012-10-17","Statement":[]}',
    "CopySource": "fuzzed/key",
}
_ODD = ["", " ", "..", "../..", "*", "\x00", "ü", "\U0001f600", "\ufffe", "%00", "-1", "null", "{}",
        "a" * 300, "arn:aws:lambda:us-east-1:000000000000:function:fuzzed", "$LATEST",
        "'; drop table", "<x>", "&", "\r\nX: y", "{" * 50, "9" * 40, "NaN", "true", "/",
        "?"]  # fmt: skip
_NUMBERS = [0, 1, -1, 2, 10, 128, 900, 2**31, 2**63, -(2**63), 10**30]


@functools.cache
def operations(boda: Boda) -> list[tuple[ServiceModel, OperationModel]]:
    """Those that this platform has; the others all answer 501 alike."""
    loader = Loader()
    found = []
    for name in SERVICES:
        model = ServiceModel(loader.load_service_model(name, "service-2"), name)
        for one in model.operation_names:
            operation = model.operation_model(one)
            if one not in _ENDLESS and not _missing(boda, model, operation):
                found.append((model, operation))
    assert len(found) > 150
    return found


def _missing(boda: Boda, model: ServiceModel, operation: OperationModel) -> bool:
    status, body = ask(boda, model, *_plain(model, operation), b"")
    return status == 501 and f":{operation.name} yet".encode() in body


def _plain(model: ServiceModel, operation: OperationModel) -> tuple[str, str, dict[str, str]]:
    """Method, target and headers that name the operation and say nothing else."""
    path = operation.http.get("requestUri", "/") or "/"
    for label, value in (("{FunctionName}", "fuzzed"), ("{Bucket}", "fuzzed"), ("{Key+}", "key")):
        path = path.replace(label, value)
    target = "".join(
        letter if letter.isalnum() or letter in "/?=&-._" else f"%{ord(letter):02X}"
        for letter in path
    )
    headers = {}
    if model.protocol == "json":
        headers["X-Amz-Target"] = f"{model.metadata['targetPrefix']}.{operation.name}"
        headers["Content-Type"] = "application/x-amz-json-1.1"
    if model.protocol == "query":
        headers["Content-Type"] = "application/x-www-form-urlencoded; charset=utf-8"
        target = f"/?Action={operation.name}&Version={model.api_version}"
    return operation.http.get("method", "POST"), target, headers


class Nonsense:
    """Values of a shape: mostly plausible, often at the edge, sometimes of no such type."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def of(self, shape: Shape | None, name: str = "", depth: int = 0) -> Any:
        chance = self._chance
        if shape is None:
            return {}
        kind = shape.type_name
        if depth > 5:
            return {"structure": {}, "list": [], "map": {}}.get(kind, "x")
        if kind == "structure":
            required = set(shape.required_members)
            return {
                member: self.of(inner, member, depth + 1)
                for member, inner in shape.members.items()
                if chance.random() < (0.97 if member in required else 0.15)
            }
        if kind == "list":
            count = chance.choice((0, 1, 1, 2, 5))
            return [self.of(shape.member, name, depth + 1) for _ in range(count)]
        if kind == "map":
            return {
                self.text(shape.key, ""): self.of(shape.value, "", depth + 1)
                for _ in range(chance.choice((0, 1, 3)))
            }
        if kind == "string":
            return self.text(shape, name)
        if kind in ("integer", "long"):
            return chance.choice(_NUMBERS)
        if kind in ("float", "double"):
            return chance.choice((0.0, -1.5, 1e300))
        if kind == "boolean":
            return chance.random() < 0.5
        if kind == "timestamp":
            return chance.choice((0, 1_700_000_000, -1, 253_402_300_799))
        return chance.choice(
            (b"", b"{}", b"null", b"\xff\xfe", chance.randbytes(64), b"PK\x05\x06")
        )

    def text(self, shape: Shape, name: str) -> str:
        chance = self._chance
        dice = chance.random()
        if name in _KNOWN and dice < 0.75:
            return _KNOWN[name]
        if getattr(shape, "enum", None) and dice < 0.8:
            return str(chance.choice(shape.enum))
        if dice < 0.6:
            return "".join(chance.choices(string.ascii_lowercase + string.digits, k=8))
        return chance.choice(_ODD)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boda]:
    with Boda(tmp_path_factory.mktemp("fuzz") / "data", "--auth", "open") as boda:
        boda.client("s3").create_bucket(Bucket="fuzzed")
        boda.client("s3").put_object(Bucket="fuzzed", Key="key", Body=b"data")
        boda.role("fuzzed")
        boda.client("iam").create_user(UserName="fuzzed")
        boda.client("logs").create_log_group(logGroupName="fuzzed")
        boda.function("fuzzed", "def lambda_handler(event, context): return 1")
        yield boda
        said = boda.log.read_text()
        assert "Traceback" not in said, said[-5000:]


def ask(
    boda: Boda, model: ServiceModel, method: str, target: str, headers: dict[str, str], body: Any
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", boda.port, timeout=20)
    try:
        scope = f"AKID/20260101/us-east-1/{model.signing_name}/aws4_request"
        headers = headers | {
            "Authorization": f"AWS4-HMAC-SHA256 Credential={scope},SignedHeaders=host,Signature=0",
            "X-Amz-Date": "20260101T000000Z",
        }
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def check(status: int, body: bytes, asked: object) -> None:
    assert status < 500 or status in (501, 503), (status, body[:500], asked)


bounded = settings(
    max_examples=700,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value, "utf-8")


@bounded
@given(seed=st.integers(0, 2**64))
def test_inputs_of_the_models_shape(platform: Boda, seed: int) -> None:
    chance = random.Random(seed)
    model, operation = chance.choice(operations(platform))
    params = Nonsense(chance).of(operation.input_shape)
    serializer = create_serializer(model.resolved_protocol, include_validation=False)
    try:
        asked = serializer.serialize_to_request(params, operation)
        prepare_request_dict(asked, endpoint_url=platform.url)
        made = create_request_object(asked).prepare()
        parts = urlsplit(made.url)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {_text(key): _text(value) for key, value in made.headers.items()}
        headers.pop("Content-Length", None)  # a wrong one would make two requests of one
        if not all(f"{key}{value}".isprintable() for key, value in headers.items()):
            return
        "".join([target, *headers, *headers.values()]).encode("ascii")
    except Exception:
        return
    status, body = ask(platform, model, made.method, target or "/", headers, made.body)
    check(status, body, (operation.name, params))


@bounded
@given(seed=st.integers(0, 2**64), junk=st.binary(max_size=200))
def test_bodies_without_any_shape(platform: Boda, seed: int, junk: bytes) -> None:
    chance = random.Random(seed)
    model, operation = chance.choice(operations(platform))
    bodies = [
        junk,
        b"{" + junk,
        b'{"FunctionName":' + json.dumps(junk.decode("latin-1")).encode() + b"}",
        b"Action=" + operation.name.encode() + b"&Version=2010-05-08&" + junk,
        b"<a>" + junk + b"</a>",
        b"[" * len(junk),
        b'{"a":' * len(junk),
    ]
    method, target, headers = _plain(model, operation)
    headers.setdefault(
        "Content-Type", chance.choice(["application/json", "text/xml", "junk;;", ""])
    )
    status, body = ask(platform, model, method, target, headers, chance.choice(bodies))
    check(status, body, (operation.name, headers))

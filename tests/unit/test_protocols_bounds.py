"""Parsers stop at their bounds: what comes behind is not even looked at.

Each document is broken at its end. A parser that builds everything first finds that; one that
stops says that there is too much.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any

import orjson
import pytest

from boda.core import large_json
from boda.core.bounds import DEFAULT, Bounds
from boda.core.errors import AwsError, MalformedInput
from boda.gateway.calling.models import Models
from boda.gateway.calling.validation import show, validate
from boda.gateway.http.wire import WireRequest
from boda.gateway.protocols import bounds, cbor_values, form_values, xml_values
from boda.gateway.protocols.scalars import blob_from_pieces
from support.dialects import DIALECTS

FEW = Bounds(members=10, values=50)
MIB = 1024 * 1024
TOO_MANY = "more members than the operation takes"


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(dialects=DIALECTS)


@pytest.mark.parametrize(
    "document",
    [
        b"[" + b"1," * 11 + b"<broken",
        b'{"a":[' + b'"x",' * 11 + b"<broken",
        b"{" + b'"a":1,' * 11 + b"<broken",
        b"[" + b"[[[[[[1]]]]]]," * 9 + b"<broken",
    ],
)
def test_json_stops(document: bytes) -> None:
    with pytest.raises(MalformedInput, match=TOO_MANY):
        large_json.parse(document, FEW)


def test_json_nested_deeply_stops() -> None:
    for opening in (b"[", b'{"a":'):
        with pytest.raises(MalformedInput, match="nested too deeply"):
            large_json.parse(opening * 1_000_000, DEFAULT)


def test_text_has_a_bound_of_its_own() -> None:
    with pytest.raises(MalformedInput, match="too much text"):
        large_json.parse(b"[" + (b'"' + b"a" * 1_000_000 + b'",') * 9 + b"<broken", DEFAULT)
    escaped = large_json.parse(b'"' + b"\\u00e9" * (1 << 20) + b'"', DEFAULT)
    assert escaped.text() == "é" * (1 << 20)
    long = large_json.parse(b'"' + b"a" * 8_000_000 + b'"', DEFAULT)
    with pytest.raises(MalformedInput, match="too long"):
        long.text()


@pytest.mark.parametrize(
    "document",
    [
        b"<r>" + b"<a/>" * 11 + b"<broken",
        b"<r>" + b"<a><b/><b/><b/><b/><b/></a>" * 9 + b"<broken",
    ],
)
def test_xml_stops(document: bytes) -> None:
    with pytest.raises(MalformedInput, match=TOO_MANY):
        xml_values.parse(document, FEW)


@pytest.mark.parametrize("start", [b"<r ", b"<!--", b"<?x ", b"</", b"<r a='"])
def test_a_piece_of_xml_that_does_not_end_stops(start: bytes) -> None:
    with pytest.raises(MalformedInput, match="too long"):
        xml_values.parse(b"<r>" + start + b"a" * MIB, DEFAULT)


def test_a_million_attributes_stop() -> None:
    tag = b"<r " + b" ".join(b'a%d=""' % number for number in range(500_000)) + b"/>"
    with pytest.raises(MalformedInput, match="too long"):
        xml_values.parse(tag, DEFAULT)


def test_much_text_in_xml_is_no_tag() -> None:
    text = "a&b" * 200_000
    document = f"<r><a>{xml_values.escape(text)}</a><b><![CDATA[{text}]]></b></r>"
    root = xml_values.parse(document.encode(), FEW)
    assert [child.text for child in root.children] == [text, text]


@pytest.mark.parametrize(
    "form",
    [
        "&".join(f"Tags.member.{number}=x" for number in range(20)) + "&%ff",
        "&".join(f"a{number}.b.c.d.e.f.g=x" for number in range(9)),
        "&" * 60 + "%ff",
    ],
)
def test_forms_stop(form: str) -> None:
    with pytest.raises(MalformedInput, match=f"{TOO_MANY}|not UTF-8") as caught:
        form_values.tree(form_values.pairs(form, FEW), FEW)
    assert ("&&" not in form) or TOO_MANY in caught.value.reason


@pytest.mark.parametrize(
    "head",
    [
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # a list of so many, it says
        b"\xbb\x00\x00\x00\x00\xff\xff\xff\xff",
        b"\x9f" + b"\x80" * 200_000,  # one that does not say
        b"\x9f" + b"\x9f\xff" * 200_000,
    ],
)
def test_cbor_stops(head: bytes) -> None:
    with pytest.raises(MalformedInput, match=TOO_MANY):
        cbor_values.decode(head + b"\x1c" * 100_000, FEW)


def test_cbor_strings_are_not_counted_by_their_bytes() -> None:
    tree = {"a": b"\x80" * 100_000, "b": "x" * 70_000, "c": [1, 2.5, None, True]}
    assert cbor_values.decode(cbor_values.encode(tree), FEW) == tree


def test_bounds_follow_the_model(models: Models) -> None:
    logs, functions = models.service("logs"), models.service("lambda")
    put = bounds.of_operation(logs.operation_model("PutLogEvents"))
    assert put.members == 20_000  # the model allows 10,000 events
    assert bounds.of_operation(functions.operation_model("PublishVersion")).members == 1_000
    assert bounds.of_operation(functions.operation_model("CreateFunction")).members == 10_000


def test_a_list_that_is_a_little_too_long_is_refused_in_the_services_words(models: Models) -> None:
    operation = models.service("logs").operation_model("PutLogEvents")
    events = [{"timestamp": 1, "message": "x" * 10} for _ in range(10_001)]
    body = json.dumps({"logGroupName": "g", "logStreamName": "s", "logEvents": events}).encode()
    protocol, validator = models.protocol("logs", ""), models.validator("logs")
    request = WireRequest("POST", "/", "", {}, body)
    params = protocol.parse_body(request, operation, bounds.of_operation(operation))
    with pytest.raises(AwsError, match="less than or equal to 10000") as caught:
        validator.check(operation, params)
    assert len(caught.value.message) < 8192


@pytest.mark.parametrize(
    "value",
    [
        None, True, 0, -1, 2.5, 1e300, 10**30, "", "é\U0001f600\n\"\\/", [], {}, [[]], [{}],
        {"a": [1, {"b": None}], "c": "x" * 70_000, "": False}, ["a" * 65_535, "b" * 65_537],
        {"\\": "\\" * 70_000, '"': '"' * 66_000},
    ],
)  # fmt: skip
def test_large_json_reads_what_orjson_reads(value: Any) -> None:
    for document in (json.dumps(value).encode(), json.dumps(value, indent=1).encode()):
        assert large_json.parse(document, DEFAULT) == json.loads(document)


@pytest.mark.parametrize(
    "document",
    [
        b"", b" ", b"[1,]", b'{"a":}', b'{"a" 1}', b'{"a":1,}', b"{,}", b"[,]", b"[01]", b"[1.]",
        b"[-]", b'["a]', b'["a\\"]', b'["\\x"]', b'["\\u12"]', b'["\x01"]', b'["\xff"]', b"nul",
        b"[1] x", b"[1]]", b"'a'", b"{1:2}", b"[1 2]", b"NaN", b'"\\ud800"', b"\xef\xbb\xbf[]",
    ],
)  # fmt: skip
def test_large_json_refuses_what_orjson_refuses(document: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(document)
    with pytest.raises(MalformedInput):
        large_json.parse(document, DEFAULT)


@pytest.mark.parametrize("size", [1_500_000, 1_500_001, 1_500_002])
def test_a_package_is_decoded_in_pieces(size: int) -> None:
    data = os.urandom(size)
    text = base64.b64encode(data)
    for written in (text, text.replace(b"/", b"\\/").replace(b"+", b"\\u002B")):
        found = large_json.parse(b'{"ZipFile":"' + written + b'"}', DEFAULT)
        assert blob_from_pieces(found["ZipFile"].pieces()) == data
    broken = large_json.parse(b'"' + text[:800_000] + b"QQ==" + text[800_000:] + b'"', FEW)
    with pytest.raises(MalformedInput, match="Base64"):
        blob_from_pieces(broken.pieces())


class Counted(list[str]):
    """Counts what is read of it."""

    read = 0

    def __iter__(self) -> Any:
        for item in super().__iter__():
            self.read += 1
            yield item


def test_what_is_cut_off_a_message_is_never_built(models: Models) -> None:
    shape = models.service("lambda").operation_model("CreateFunction").input_shape.members["Layers"]
    layers = Counted(["arn:aws:lambda:us-east-1:000000000000:layer:l:1"] * 100_000)
    shown = show(layers, shape)
    assert shown.startswith("[arn:aws:lambda") and shown.endswith("...")
    assert len(shown) < 4200 and layers.read < 200
    assert len(show("x" * 14_000_000)) < 4200
    assert len(show({"k" * 14_000_000: ["x" * 14_000_000]})) < 4200


def test_sentences_are_few(models: Models) -> None:
    shape = models.service("logs").operation_model("PutLogEvents").input_shape
    events: list[Any] = [{}] * 10_000
    with pytest.raises(AwsError) as caught:
        validate({"logGroupName": "g", "logStreamName": "s", "logEvents": events}, shape)
    assert 50 <= caught.value.message.count("failed to satisfy") <= 110


def test_an_errors_message_is_cut() -> None:
    assert len(AwsError("X", "y" * 14_000_000).message) < 70_000

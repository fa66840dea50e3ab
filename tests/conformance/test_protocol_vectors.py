"""AWS's protocol test vectors, run backwards.

Their inputs are requests to parse, their outputs answers to serialise. What a server can not
show is listed in protocol_vectors_not_held.toml, each with its reason.
"""

from __future__ import annotations

import base64
import json
import math
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cbor2
import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel, ServiceModel
from botocore.parsers import create_parser

from boda.core.errors import AwsError
from boda.gateway.http.wire import WireRequest, WireResponse
from boda.gateway.protocols import protocol_for
from support.golden import cases, golden

NOT_HELD = tomllib.loads(
    (Path(__file__).parent / "protocol_vectors_not_held.toml").read_text("utf-8")
)
REQUEST_IDS = {"RequestId", "requestId", "RequestID", "ResponseMetadata"}


def vectors(kind: str) -> Iterator[Any]:
    for path in sorted(golden(f"protocols/{kind}").glob("*.json")):
        for number, suite in enumerate(json.loads(path.read_text())):
            for case in suite["cases"]:
                yield pytest.param(suite, case, id=f"{path.stem}-{number}-{case['id']}")


def operation(suite: dict[str, Any], case: dict[str, Any]) -> tuple[ServiceModel, OperationModel]:
    given = case["given"]
    service = ServiceModel(
        {
            "metadata": {"endpointPrefix": "vectors", **suite["metadata"]},
            "shapes": suite["shapes"],
            "operations": {given["name"]: given},
        },
        service_name="vectors",
    )
    return service, service.operation_model(given["name"])


def typed(value: Any, shape: Any) -> Any:
    """A vector's plain value as the parameters carry it."""
    kind = shape.type_name
    if value is None or getattr(shape, "is_document_type", False):
        return value
    if kind == "structure":
        return {
            name: typed(item, shape.members[name])
            for name, item in value.items()
            if item is not None
        }
    if kind == "list":
        return [typed(item, shape.member) for item in value]
    if kind == "map":
        return {key: typed(item, shape.value) for key, item in value.items()}
    if kind == "timestamp":
        return datetime.fromtimestamp(value, UTC)
    if kind == "blob":
        return value.encode() if isinstance(value, str) else value
    if kind in ("float", "double"):
        return float(value)
    return value


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return type(left) is type(right) and left == right


def body_bytes(suite: dict[str, Any], body: str) -> bytes:
    if suite["metadata"]["protocol"] == "smithy-rpc-v2-cbor":
        return base64.b64decode(body)
    return body.encode()


@pytest.mark.parametrize(("suite", "case"), cases(lambda: vectors("input"), 2))
def test_a_request_is_parsed(suite: dict[str, Any], case: dict[str, Any]) -> None:
    if case["id"] in NOT_HELD["input"]:
        pytest.skip(NOT_HELD["input"][case["id"]])
    service, op = operation(suite, case)
    wire = case["serialized"]
    path, _, query = wire["uri"].partition("?")
    request = WireRequest(
        method=wire["method"],
        path=path,
        query=query,
        headers={name.lower(): value for name, value in wire.get("headers", {}).items()},
        body=body_bytes(suite, wire.get("body", "")),
    )
    params = protocol_for(service).parse(request, op)
    wanted = typed(case["params"], op.input_shape) if op.input_shape else {}
    params, wanted = _on_the_wire(params, op), _on_the_wire(wanted, op)
    assert same(params, wanted), (params, wanted)


def _on_the_wire(params: dict[str, Any], op: OperationModel) -> dict[str, Any]:
    """Without what leaves no trace (empty lists and maps of headers and query parameters) and
    without parameters bound by name in the query's map, where a server sees them and a client
    may leave them out."""
    if op.input_shape is None:
        return params
    shapes = op.input_shape.members
    places = {name: shape.serialization.get("location") for name, shape in shapes.items()}
    named = {
        shape.serialization.get("name", name)
        for name, shape in shapes.items()
        if places[name] == "querystring" and shape.type_name != "map"
    }
    kept = {}
    for name, value in params.items():
        if places[name] == "querystring" and shapes[name].type_name == "map":
            value = {key: item for key, item in value.items() if key not in named}
        if places[name] not in ("headers", "querystring", "header") or value not in ({}, []):
            kept[name] = value
    return kept


@pytest.mark.parametrize(("suite", "case"), cases(lambda: vectors("output"), 2))
def test_an_answer_is_serialised(suite: dict[str, Any], case: dict[str, Any]) -> None:
    if case["id"] in NOT_HELD["output"]:
        pytest.skip(NOT_HELD["output"][case["id"]])
    service, op = operation(suite, case)
    wanted = case["response"]
    protocol = protocol_for(service)
    if "errorCode" in case:
        fields = {
            name: value
            for name, value in case["error"].items()
            if name.lower() not in ("message", "code")
        }
        message = case.get("errorMessage") or _read_vector(service, op, suite, wanted)["Message"]
        code = case["errorCode"]
        error = AwsError(code, message, wanted["status_code"], **fields)
        answer = protocol.serialize_error(error, op, "foo-id")
    else:
        result = typed(case["result"], op.output_shape) if op.output_shape else {}
        request_id = wanted.get("headers", {}).get("X-Amzn-Requestid", "foo-id")
        answer = protocol.serialize(result, op, request_id)
    assert isinstance(answer.body, bytes)
    assert answer.status == wanted["status_code"]

    sent = {name.lower(): value for name, value in answer.headers}
    if "body" not in wanted and "errorCode" not in case:
        for name, value in wanted.get("headers", {}).items():
            assert sent.get(name.lower()) == value
        return

    # A client reads the same from this answer as from the vector's.
    read = _read(service, op, answer)
    if "errorCode" in case:
        assert code in (read["Code"], _query_code(answer))
        assert read["Message"] == message
        assert fields == {key: value for key, value in read["Members"].items() if key in fields}
    else:
        assert same(read, _read_vector(service, op, suite, wanted))

    if case["id"] in NOT_HELD["output_form"]:
        return
    for name, value in wanted.get("headers", {}).items():
        assert sent.get(name.lower()) == value
    assert same(
        _form(service, answer.body), _form(service, body_bytes(suite, wanted.get("body", "")))
    )


def _query_code(answer: WireResponse) -> str:
    return dict(answer.headers).get("x-amzn-query-error", "").partition(";")[0]


def _read(service: ServiceModel, op: OperationModel, answer: WireResponse) -> Any:
    return _client(service, op, answer.status, dict(answer.headers), answer.body)


def _read_vector(
    service: ServiceModel, op: OperationModel, suite: dict[str, Any], wanted: dict[str, Any]
) -> Any:
    body = body_bytes(suite, wanted.get("body", ""))
    return _client(service, op, wanted["status_code"], wanted.get("headers", {}), body)


def _client(
    service: ServiceModel, op: OperationModel, status: int, headers: dict[str, str], body: Any
) -> Any:
    class Streaming:
        def __init__(self, data: bytes) -> None:
            self.data = data

    shape = op.output_shape
    lower = HeadersDict(headers)
    if op.has_streaming_output:
        body = Streaming(body)
    parsed = create_parser(service.resolved_protocol).parse(
        {"status_code": status, "headers": lower, "body": body}, shape
    )
    if status >= 300 and op.error_shapes:
        code = parsed["Error"].get("Code")
        found = service.shape_for_error_code(code)
        error = {"Code": code, "Message": parsed["Error"].get("Message") or ""}
        if found is not None:
            modeled = create_parser(service.resolved_protocol).parse(
                {"status_code": status, "headers": lower, "body": body}, found
            )
            modeled.pop("ResponseMetadata", None)
            error["Members"] = _undressed({**modeled, "Error": None})
        return error
    parsed.pop("ResponseMetadata", None)
    return _undressed(parsed)


def _undressed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _undressed(item) for key, item in value.items() if item != {}}
    if isinstance(value, list):
        return [_undressed(item) for item in value]
    if hasattr(value, "data"):
        return value.data
    if isinstance(value, datetime):
        return value.timestamp()
    return value


def _form(service: ServiceModel, body: bytes) -> Any:
    """The body as a tree that does not depend on white space, order or request ids."""
    protocol = service.resolved_protocol
    if not body.strip():
        return None
    if protocol == "smithy-rpc-v2-cbor":
        tree = cbor2.loads(body)
        if "__type" in tree:
            tree["__type"] = tree["__type"].rpartition("#")[2]
        return {key: value for key, value in tree.items() if value is not None}
    if protocol in ("json", "rest-json"):
        try:
            tree = json.loads(body)
        except ValueError:
            return body
        if isinstance(tree, dict) and "__type" in tree:
            tree["__type"] = tree["__type"].rpartition("#")[2]
        return tree or None
    try:
        return _element(ElementTree.fromstring(body))
    except ElementTree.ParseError:
        return body


def _element(element: ElementTree.Element) -> Any:
    children = [child for child in element if _local(child) not in REQUEST_IDS]
    content: Any = sorted(map(_element, children), key=repr)
    if not len(element):
        content = (element.text or "").strip()
    return [_local(element), sorted(element.attrib.items()), content]


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def test_every_vector_that_is_not_held_exists() -> None:
    inputs = {case.values[1]["id"] for case in vectors("input")}
    outputs = {case.values[1]["id"] for case in vectors("output")}
    assert NOT_HELD["input"].keys() <= inputs
    assert NOT_HELD["output"].keys() <= outputs
    assert NOT_HELD["output_form"].keys() <= outputs

"""Every Lambda operation driven with values from the model's own limits, inside and outside.

Whatever is sent, the answer is one that the model knows, in AWS's form: never the platform's own
failure, never silence, never half of a change on disk.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import orjson
import pytest
from botocore.model import OperationModel, Shape
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from boda.core.clock import SystemClock
from boda.core.errors import AwsError
from boda.gateway.calling.models import Models
from boda.services import lambda_
from boda.services.lambda_ import rows, rows_resources
from support.dialects import DIALECTS
from support.lambda_world import ROLE, World, package, world

MODEL = Models(dialects=DIALECTS).service("lambda")
KNOWN = {
    "FunctionName": ["f", "g", "f:1", "f:live", "f:$LATEST", "missing"],
    "Qualifier": ["1", "live", "$LATEST", "9", "missing"],
    "Name": ["live", "other"],
    "FunctionVersion": ["1", "$LATEST", "ALL", "9"],
    "LayerName": ["layer", "missing"],
    "VersionNumber": [1, 2, 9],
    "StatementId": ["s1", "s2"],
    "Action": ["lambda:InvokeFunction", "lambda:GetLayerVersion"],
    "Principal": ["s3.amazonaws.com", "*", "000000000000"],
    "Role": [ROLE],
    "Runtime": ["python3.12"],
    "Handler": ["app.handler"],
    "Marker": [""],
    "EventSourceArn": [
        "arn:aws:sqs:us-east-1:000000000000:queue",
        "arn:aws:kinesis:us-east-1:000000000000:stream/s",
        "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/1",
    ],
    "Resource": [
        "arn:aws:lambda:us-east-1:000000000000:function:f",
        "arn:aws:lambda:us-east-1:000000000000:layer:layer",
    ],
    "ResourceArn": [
        "arn:aws:lambda:us-east-1:000000000000:function:f",
        "arn:aws:lambda:us-east-1:000000000000:function:f:1",
        "arn:aws:lambda:us-east-1:000000000000:runtime/x",
    ],
    "Arn": ["arn:aws:lambda:us-east-1:000000000000:layer:layer:1"],
    "Destination": ["", "arn:aws:lambda:us-east-1:000000000000:function:g", "arn:aws:sqs:::q"],
    "Policy": ['{"Version":"2012-10-17","Statement":[]}', "{", "[]", '{"Statement":[{}]}'],
    "Pattern": ['{"body":{"a":["b"]}}', "{", "1"],
    "ZipFile": [package(), b"", b"PK\x03\x04"],
    "Payload": [b"{}", b"", b"{"],
    "InvokeArgs": [b"{}", b"{"],
}
"""Values that lead further in than any that chance would find."""

TEXTS = [
    "",
    "a",
    "a" * 65,
    "a" * 300,
    "x:y",
    "$LATEST",
    "$",
    "é",
    "\x00",
    "../..",
    "%2e%2e",
    "0",
    "a b",
]
NUMBERS = [-(2**31), -1, 0, 1, 2, 60, 128, 901, 10_240, 2**31 - 1]


def values(name: str, shape: Shape, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values for a member: known ones, those at the model's limits, and those beyond."""
    kind = shape.type_name
    if kind == "structure":
        return structures(shape, depth)
    if kind == "list":
        return st.lists(values(name, shape.member, depth + 1), max_size=3)
    if kind == "map":
        return st.dictionaries(
            st.sampled_from(TEXTS), values(name, shape.value, depth + 1), max_size=3
        )
    if kind == "boolean":
        return st.booleans()
    if kind == "timestamp":
        return st.sampled_from([datetime(2026, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)])
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    edges = [int(bound) + step for bound in (low, high) if bound is not None for step in (-1, 0, 1)]
    known = st.sampled_from(KNOWN[name]) if name in KNOWN else None
    if kind in ("integer", "long", "float", "double"):
        usual: st.SearchStrategy[Any] = st.sampled_from([*NUMBERS, *edges])
    elif kind == "blob":
        usual = st.binary(max_size=64)
    else:
        lengths = [length for length in edges if 0 <= length <= 300]
        enum = list(shape.metadata.get("enum", []))
        usual = st.sampled_from([*TEXTS, *("a" * length for length in lengths), *enum, *enum])
        pattern = shape.metadata.get("pattern")
        if pattern and not re.search(r"\(\?!|\\p", pattern):
            usual = usual | st.from_regex(pattern, fullmatch=True)
    return usual if known is None else known | known | usual


def structures(shape: Shape, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    if depth > 4:
        return st.just({})
    required = {
        name: values(name, shape.members[name], depth + 1) for name in shape.required_members
    }
    others = {
        name: values(name, part, depth + 1)
        for name, part in shape.members.items()
        if name not in shape.required_members
    }
    return st.fixed_dictionaries(required, optional=others)


def operations() -> list[str]:
    """Those that are there."""
    probe = lambda_.build(MagicMock(quotas={}, code_dir=Path("code")))
    return sorted(probe.service.operations)


async def prepared(here: World) -> None:
    """Something of everything."""
    for name in ("f", "g"):
        await here.call(
            "CreateFunction",
            FunctionName=name,
            Role=ROLE,
            Runtime="python3.12",
            Handler="app.handler",
            Code={"ZipFile": package()},
            Publish=True,
        )
    await here.call("CreateAlias", FunctionName="f", Name="live", FunctionVersion="1")
    await here.call("PublishLayerVersion", LayerName="layer", Content={"ZipFile": package()})


def stored(here: World) -> Any:
    """What is on disk, comparable to what is in memory."""
    functions = here.rows.read_now(rows.load)
    beside = here.rows.read_now(rows_resources.load)
    return {f.key: f for f in functions}, sorted(
        (place, kind, id_) for place, kind, id_, _ in beside
    )


def in_memory(here: World) -> Any:
    core = here.service._core
    shelves = (here.service._beside.mappings.shelf, here.service._beside.signing.shelf)
    beside = sorted(
        (place, shelf.kind, id_) for shelf in shelves for place, id_, _ in shelf.everything()
    )
    return {f.key: f for f in core.all()}, beside


def plain(function: Any) -> Any:
    """Without the difference between lists and tuples."""
    return orjson.loads(orjson.dumps(dataclasses.asdict(function)))


def same(disk: Any, memory: Any) -> None:
    assert disk[1] == memory[1]
    assert disk[0].keys() == memory[0].keys()
    for key, function in disk[0].items():
        held = memory[0][key]
        held = dataclasses.replace(
            held, attached={kind: found for kind, found in held.attached.items() if found}
        )
        assert plain(function) == plain(held), key


@pytest.mark.parametrize("name", operations())
def test_no_value_breaks_an_operation(name: str, tmp_path: Path) -> None:
    model = MODEL.operation_model(name)
    with asyncio.Runner() as runner:
        running = world(tmp_path, clock=SystemClock(), options=lambda_.Options(update_settle_s=0))
        here = runner.run(running.__aenter__())
        try:
            runner.run(prepared(here))

            @settings(
                max_examples=25,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(params=structures(model.input_shape))
            def drive(params: dict[str, Any]) -> None:
                runner.run(asyncio.wait_for(sent(here, model, params), 20))

            drive()
            runner.run(here.service.stop())
            same(stored(here), in_memory(here))
        finally:
            runner.run(running.__aexit__(None, None, None))


async def sent(here: World, model: OperationModel, params: dict[str, Any]) -> None:
    error = None
    try:
        await here.call(model.name, **params)
    except AwsError as refusal:
        error = refusal
    if error is None or error.status == 501:
        return
    assert 400 <= error.status < 500, (error.code, error.message, params)
    if error.code == "ValidationException":
        assert re.match(r"\d+ validation errors? detected: ", error.message)
        return
    known = {shape.name for shape in model.error_shapes}
    assert error.code in known | EVERYWHERE, (error.code, error.message, params)


EVERYWHERE = {
    # Of any operation, though the model does not repeat them for each.
    "AccessDeniedException",
    "SerializationException",
    "RequestEntityTooLargeException",
}

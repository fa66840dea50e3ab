"""Large JSON of callers and functions is read as well as small, and nobody waits for it."""

from __future__ import annotations

import json
import threading
from typing import Any

import orjson
import pytest

from boda.gateway.protocols.bounds import DEFAULT
from boda.services.lambda_.invoking import payloads
from boda.services.lambda_.urls import messages as url_messages

DENSE = b'{"a":[' + b"[]," * 300_000 + b"0]}"
LARGE = b'"' + b"x" * 100_000 + b'"'


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Which reader read, and whether beside the event loop."""
    seen: list[tuple[str, bool]] = []
    here = threading.get_ident()
    loads, parse = orjson.loads, payloads.large_json.parse

    def at_once(text: Any) -> Any:
        seen.append(("orjson", threading.get_ident() != here))
        return loads(text)

    def in_steps(*given: Any, **more: Any) -> Any:
        seen.append(("steps", threading.get_ident() != here))
        return parse(*given, **more)

    monkeypatch.setattr(payloads.orjson, "loads", at_once)
    monkeypatch.setattr(payloads.large_json, "parse", in_steps)
    return seen


@pytest.mark.parametrize(
    ("payload", "reader", "beside"),
    [(b'{"a": 1}', "orjson", False), (LARGE, "orjson", True), (DENSE, "steps", True)],
)
async def test_who_reads_what(
    readers: list[tuple[str, bool]], payload: bytes, reader: str, beside: bool
) -> None:
    await payloads.check(payload)
    assert readers[0] == (reader, beside)


@pytest.mark.parametrize("payload", [b"{", LARGE[:-1], DENSE[:-1], DENSE + b"]"])
async def test_what_is_no_json(payload: bytes) -> None:
    with pytest.raises(ValueError):
        await payloads.check(payload)


def test_what_is_too_deep_to_be_kept_is_read() -> None:
    text = b'{"a":{"b":[1,{"c":2}]},"d":[3]}'
    found = payloads.large_json.parse(text, DEFAULT, kept_depth=2)
    assert found == {"a": {"b": []}, "d": [3]}


def test_dense_answers_of_functions() -> None:
    plain = url_messages.response(DENSE)
    assert plain is not None and plain.status == 200 and plain.body == DENSE
    told = json.dumps({"statusCode": 201, "body": "x" * 1_500_000, "more": [[]] * 250_000}).encode()
    answer = url_messages.response(told)
    assert answer is not None and answer.status == 201 and answer.body == b"x" * 1_500_000
    assert url_messages.response(b'{"statusCode":200,"body":' + DENSE + b"}") is None

"""Large JSON of callers and functions is read as well as small, and nobody waits for it."""

from __future__ import annotations

import json
import random
import threading
from typing import Any

import orjson
import pytest

from boda.core import payloads
from boda.core.bounds import DEFAULT
from boda.core.json_check import is_json
from boda.events.http import payload_2

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

    def unlocked(document: bytes) -> bool:
        seen.append(("without the lock", threading.get_ident() != here))
        return is_json(document)

    monkeypatch.setattr(payloads, "is_json", unlocked)
    monkeypatch.setattr(payloads.orjson, "loads", at_once)
    monkeypatch.setattr(payloads.large_json, "parse", in_steps)
    return seen


@pytest.mark.parametrize(
    ("payload", "reader", "beside"),
    [
        (b'{"a": 1}', "orjson", False),
        (LARGE, "orjson", True),
        (DENSE, "without the lock", True),
        (b"[" + b"1," * 300_000 + b"1]", "without the lock", True),
    ],
)
async def test_who_reads_what(
    readers: list[tuple[str, bool]], payload: bytes, reader: str, beside: bool
) -> None:
    await payloads.check(payload)
    assert readers == [(reader, beside)]


@pytest.mark.parametrize("payload", [b"{", LARGE[:-1], DENSE[:-1], DENSE + b"]"])
async def test_what_is_no_json(payload: bytes) -> None:
    with pytest.raises(ValueError):
        await payloads.check(payload)


def _is_json(document: bytes) -> bool:
    try:
        orjson.loads(document)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b" ", b"1 2", b"[1]]", b"[}", b"{]", b"[1,]", b"[,1]", b'{"a":1,}', b"{,}", b"tru"),
        *(b'{"a"}', b'{"a":}', b"{1:1}", b"{a:1}", b'{"a" 1}', b'{"a":1 "b":2}', b"[1 ,2\r\n\t]"),
        *(b"1.", b".5", b"+1", b"01", b"-01", b"-", b"1e", b"1e+", b"1e5", b"-0.0E-9", b"0x1"),
        *(b"NaN", b"Infinity", b"-Infinity", b"TRUE", b"null0", b"/**/1", b"1//x\n", b"'a'"),
        *(b"\x0b1", b"\xc2\xa01", b"\xe2\x80\xa81", b"\xef\xbb\xbf1", b"{}\0", b"\0", b"[1]\0x"),
        *(
            b'"\x01"',
            b'"\t"',
            b'"\x7f"',
            b'"\\x41"',
            b'"\\v"',
            b'"\\0"',
            b'"\\\n"',
            b'"\\/"',
            b'"a',
        ),
        *(
            b'"\\u12g4"',
            b'"\\u"',
            b'"\\u0000"',
            b'"\xff"',
            b'"\xed\xa0\x80"',
            b'"\xf0\x9f\x98\x80"',
        ),
        *(b'"\\ud83d\\ude00"', b'"\\ud83d"', b'"\\ude00"', b'"\\ud83d\\ud83d\\ude00"'),
        *(b'"\\ud83d\\ude00\\ude00"', b'"\\\\ud83d"', b'"\\\\\\ud83d"', b'"\\ud83d\\\\\\ude00"'),
    ],
)
def test_what_is_json_without_the_lock_is_json(document: bytes) -> None:
    assert is_json(document) == _is_json(document)


@pytest.mark.parametrize("where", range(65_536 - 13, 65_536 + 2))
@pytest.mark.parametrize("pair", [b"\\uD83D\\uDE00", b"\\ud83d\\n", b"\\n\\ude00"])
def test_halves_of_pairs_are_found_wherever_they_are(pair: bytes, where: int) -> None:
    document = b'"' + b"x" * (where - 1) + pair + b'"'
    assert is_json(document) == _is_json(document) == (b"n" not in pair)


def test_what_is_nearly_json_is_none_without_the_lock() -> None:
    chance = random.Random(7)
    alphabet = b'[]{},:"\\u0d8e1-. \n'
    whole = [b'[{"a":[1,-2.5e3,"\\ud83d\\ude00"]},[true,null],""]', b'{"\\\\":{},"b":[[]]}']
    for _ in range(20_000):
        document = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(document))
            document[place : place + chance.randint(0, 2)] = bytes([chance.choice(alphabet)])
        assert is_json(bytes(document)) == _is_json(bytes(document)), bytes(document)


def test_what_is_too_deep_to_be_kept_is_read() -> None:
    text = b'{"a":{"b":[1,{"c":2}]},"d":[3]}'
    found = payloads.large_json.parse(text, DEFAULT, kept_depth=2)
    assert found == {"a": {"b": []}, "d": [3]}


def test_dense_answers_of_functions() -> None:
    plain = payload_2.answer(DENSE)
    assert plain is not None and plain.status == 200 and plain.body == DENSE
    told = json.dumps({"statusCode": 201, "body": "x" * 1_500_000, "more": [[]] * 250_000}).encode()
    answer = payload_2.answer(told)
    assert answer is not None and answer.status == 201 and answer.body == b"x" * 1_500_000
    assert payload_2.answer(b'{"statusCode":200,"body":' + DENSE + b"}") is None

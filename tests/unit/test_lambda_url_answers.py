"""What a function answers to its URL's caller means the same, whichever way it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from boda.services.lambda_.urls import messages as url_messages

Said = tuple[int, list[tuple[str, str]], Any] | None

_NUMBERS = some.one_of(
    some.integers(-(10**25), 10**25), some.floats(), some.sampled_from([0, -1, 2**53, 2**63, 2**64])
)
_TEXTS = some.text(some.characters(codec=None), max_size=8)
_VALUES = some.recursive(
    some.one_of(some.none(), some.booleans(), _NUMBERS, _TEXTS),
    lambda inner: some.one_of(
        some.lists(inner, max_size=3), some.dictionaries(_TEXTS, inner, max_size=3)
    ),
    max_leaves=8,
)
_NAMES = some.sampled_from(["Content-Type", "content-type", "x-a", "X-A", "Connection", "a b", ""])
_MEMBERS: dict[str, Any] = {
    "statusCode": some.one_of(some.sampled_from([200, 204, 404, 599, 600, 199, "201"]), _VALUES),
    "headers": some.one_of(
        some.dictionaries(_NAMES, some.one_of(some.sampled_from(["1", "é", "a\nb"]), _VALUES)),
        _VALUES,
    ),
    "body": some.one_of(_TEXTS, _VALUES),
    "cookies": some.one_of(some.just([]), some.lists(_TEXTS), _VALUES),
    "isBase64Encoded": some.one_of(some.booleans(), _VALUES),
}
_ANSWERS = some.one_of(
    some.dictionaries(_TEXTS, _VALUES, max_size=4),
    some.fixed_dictionaries({}, optional=_MEMBERS),
)


def said(response: Any) -> Said:
    return None if response is None else (response.status, response.headers, response.body)


@given(_ANSWERS, some.booleans(), some.sampled_from([None, (",", ":"), (" ,\n", "\t: ")]))
def test_the_quick_reader_reads_as_the_thorough_one(
    answer: Any, escaped: bool, separators: tuple[str, str] | None
) -> None:
    text = json.dumps(answer, ensure_ascii=escaped, separators=separators)
    payload = text.encode(errors="surrogatepass")
    assert said(url_messages.response(payload)) == said(url_messages._unusual(payload))


@pytest.mark.parametrize(
    "text",
    [
        '{"a":-0}',
        '{"a":-0.0}',
        '{"a":1e5}',
        '{"a":1E400}',
        '{"a":1e-7}',
        '{"a":12345678901234567890123}',
        '{"a":9007199254740993}',
        '{"a":NaN,"b":-Infinity}',
        '{"a":01}',
        '{"a":1,"a":2,"b":3,"a":4}',
        '{"statusCode":200,"statusCode":404,"body":"x"}',
        '{"a":"\\ud800","b":"\\ud83d\\ude00","c":"\\u0000\\u001f\\u007f\\u2028/\\/"}',
        '{"a":"\x01"}',
        '{"a":"\x7f\u2028"}',
        '{"a":1}x',
        '{"a":1} \n',
        "{\x0c}",
        "{}",
        "{",
        "{'a':1}",
        '{"a":1,}',
        '{"a":' + "[" * 300 + "]" * 300 + "}",
        '{"statusCode":200,"body":"x","headers":{"a":"b\\r\\nc: d"}}',
        '{"statusCode":200,"body":"x","headers":{"content-length":"9"}}',
        '{"statusCode":200,"body":"\\ud800"}',
        '{"statusCode":true,"body":"x"}',
        '{"statusCode":2e2,"body":"x"}',
    ],
)
def test_so_does_it_what_is_seldom_seen(text: str) -> None:
    for payload in (text.encode(), text.encode("utf-16-le"), text.encode("utf-8-sig")):
        for _ in range(2):  # what is remembered of the first is what the second gets
            response = url_messages.response(payload)
            assert said(response) == said(url_messages._unusual(payload))
            if response is not None:
                response.headers.append(("a", "b"))


def test_the_usual_is_read_quickly() -> None:
    """Or the tests above would compare the thorough reader with itself."""
    for text in (
        '{"hello": "rider 7", "total": 12}',
        '{"statusCode": 200, "body": "hello"}',
        '{"statusCode": 404, "headers": {"Content-Type": "text/html"}, "body": "é"}',
    ):
        assert url_messages._usual(text.encode()) is not None

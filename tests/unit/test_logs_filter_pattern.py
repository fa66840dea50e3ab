"""Filter patterns: what matches, what is refused, and that nothing makes them slow."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boda.services.logs.patterns.pattern import BadPattern, compile_pattern


def matches(pattern: str, message: str) -> bool:
    test = compile_pattern(pattern)
    return test is None or test(message)


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ("", "anything", True),
        ("   ", "anything", True),
        ("ERROR", "[ERROR 400] BAD REQUEST", True),
        ("ERROR", "[error 400] bad request", False),
        ("ERROR ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", True),
        ("ERROR ARGUMENTS", "[ERROR 400] BAD REQUEST", False),
        ("?ERROR ?ARGUMENTS", "[INFO] ARGUMENTS", True),
        ("?ERROR ?ARGUMENTS", "[INFO] none", False),
        ("ERROR -ARGUMENTS", "[ERROR 400] BAD REQUEST", True),
        ("ERROR -ARGUMENTS", "[ERROR 419] MISSING ARGUMENTS", False),
        ("-ERROR", "fine", True),
        ("-ERROR", "an ERROR", False),
        ('"INTERNAL SERVER ERROR"', "[ERROR 500] INTERNAL SERVER ERROR", True),
        ('"INTERNAL SERVER ERROR"', "INTERNAL ERROR", False),
        ('-"BAD REQUEST" ERROR', "[ERROR 400] BAD REQUEST", False),
        ('?"a b" ?c', "xa bx", True),
        (r'"say \"hi\""', 'they say "hi" there', True),
        # Optional terms beside others are left out of account.
        ("ERROR ?WARN", "ERROR alone", True),
        ("ERROR ?WARN", "WARN alone", False),
        ("%ERR[A-Z]+%", "an ERROR", True),
        ("%^START%", "a START", False),
        ("%^START%", "START RequestId", True),
        (r"%took \d+%", "", None),
        (r"%[0-9]{3,}ms$%", "took 1234ms\n", True),
        (r"%[0-9]{3,}ms$%", "took 12ms", False),
        (r"-%fai.ed%", "it failed", False),
        ("höhe", "die höhe", True),
    ],
)
def test_terms(pattern: str, message: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(BadPattern):
            compile_pattern(pattern)
    else:
        assert matches(pattern, message) is expected


EVENT = {
    "eventType": "UpdateTrail",
    "sourceIPAddress": "111.111.111.111",
    "arrayKey": ["value", "another value"],
    "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
    "SomeObject": None,
    "isRoot": True,
    "isFree": False,
    "latency": 21.5,
    "code": 404,
    "text": "404",
    "user": {"first-name": "Ana", "tags": {"x": "deep"}},
    "detail-type": "Scheduled Event",
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{ $.eventType = "UpdateTrail" }', True),
        ("{ $.eventType = UpdateTrail }", True),
        ('{$.eventType="UpdateTrail"}', True),
        ('{ $.eventType != "UpdateTrail" }', False),
        ('{ $.eventType = "Update*" }', True),
        ('{ $.eventType = "*Trail" }', True),
        ('{ $.eventType = "U*T*l" }', True),
        (r'{ $.eventType = "Update\*" }', False),
        ('{ $.eventType = "update*" }', False),
        ("{ $.sourceIPAddress = 111.111.* }", True),
        ("{ $.sourceIPAddress != 123.123.* }", True),
        ("{ $.sourceIPAddress = %1{3}\\.1{3}% }", True),
        ('{ $.arrayKey[0] = "value" }', True),
        ('{ $.arrayKey[1] = "value" }', False),
        ('{ $.arrayKey[2] = "value" }', False),
        ('{ $.arrayKey[*] = "another*" }', True),
        ("{ $.objectList[1].id = 2 }", True),
        ("{ $.objectList[*].id > 1 }", True),
        ("{ $.objectList[*].id > 2 }", False),
        ("{ $.user.* = Ana }", True),
        ('{ $.user.first-name = "Ana" }', True),
        ("{ $['detail-type'] = \"Scheduled*\" }", True),
        ('{ $.detail-type = "Scheduled Event" }', True),
        ("{ $.SomeObject IS NULL }", True),
        ("{ $.eventType IS NULL }", False),
        ("{ $.SomeOtherObject IS NULL }", False),
        ("{ $.SomeOtherObject NOT EXISTS }", True),
        ("{ $.SomeObject NOT EXISTS }", False),
        ("{ $.isRoot IS TRUE }", True),
        ("{ $.isRoot is false }", False),
        ("{ $.isFree IS FALSE }", True),
        ("{ $.latency > 21 }", True),
        ("{ $.latency >= 21.5 }", True),
        ("{ $.latency < 2.15e1 }", False),
        ("{ $.latency <= 2.15E+1 }", True),
        ("{ $.latency > -3 }", True),
        ("{ $.code = 404 }", True),
        ("{ $.code != 404 }", False),
        ("{ $.code = 4* }", True),
        ("{ $.text = 404 }", False),
        ('{ $.text = "404" }', True),
        ("{ $.text > 400 }", False),
        ("{ $.isRoot > 0 }", False),
        ('{ $.code = "*" }', True),
        ('{ $.missing = "*" }', False),
        ('{ $.missing != "x" }', False),
        ("{ $.latency > 100 || $.code = 404 }", True),
        ("{ $.latency > 100 && $.code = 404 }", False),
        # && binds tighter than ||
        ("{ $.code = 404 || $.latency > 100 && $.latency > 200 }", True),
        ("{ ($.code = 404 || $.latency > 100) && $.latency > 200 }", False),
        ('{ ($.user.tags.x = "deep") && (($.code > 1) && ($.code < 500)) }', True),
        ("{ }", True),
    ],
)
def test_json(pattern: str, expected: bool) -> None:
    assert matches(pattern, json.dumps(EVENT) + "\n") is expected
    assert not matches(pattern, "no json at all")
    assert not matches(pattern, '{"broken": ')


def test_json_of_an_array() -> None:
    assert matches("{ $[1].a = 2 }", '[{"a": 1}, {"a": 2}]')


APACHE = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[ip, user, username, timestamp, request, status_code, bytes]", True),
        ("[ip, user, username, timestamp, request, status_code = 4*, bytes]", True),
        ("[ip, user, username, timestamp, request, status_code = 5*, bytes]", False),
        ("[ip, user, username, timestamp, request = *html*, status_code = 4*, bytes]", True),
        ('[ip, user, username, timestamp, request="GET *", status_code, bytes > 1500]', True),
        ("[ip, user, username, timestamp, request, status_code, bytes > 1534]", False),
        ("[..., status_code = 4*, bytes]", True),
        ("[ip, ...]", True),
        ("[ip = 127.*, ..., bytes >= 1534]", True),
        ("[ip != 127.*, ...]", False),
        ("[...]", True),
        ("[ip, user]", False),
        ("[a, b, c, d, e, f, g, h]", False),
        ("[..., status = 404 || status = 410, bytes]", True),
        ("[..., status != 404 && status != 410, bytes]", False),
        ("[..., status = 4* && (bytes < 10 || bytes > 1000), bytes2]", None),
        ("[..., timestamp = 10/Oct*, request, s, b]", True),
        ("[..., s = %4\\d{2}%, b]", True),
        ("[ip,user=Prod,...]", True),
    ],
)
def test_fields(pattern: str, expected: bool | None) -> None:
    # A name that no field bears has no value; a condition on it does not hold.
    assert matches(pattern, APACHE + "\n") is bool(expected)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("err:or", "Invalid character(s) in term ':'"),
        ("(ERROR)", "Invalid character(s) in term '('"),
        ("?", "Invalid character(s) in term ''"),
        ('"open', "Invalid filter pattern"),
        ("{ $.a = 1", "If a filter pattern starts with '{' it must end with '}'"),
        ("[a, b", "If a filter pattern starts with '[' it must end with ']'"),
        ("{ a = 1 }", "Invalid character(s) in term 'a'"),
        ('{ $."a-b" = 1 }', "Invalid character(s) in term '$.\"'"),
        ("{ $.a }", "Invalid filter pattern"),
        ("{ $.a = }", "Invalid filter pattern"),
        ("{ $.a = 1 && }", "Invalid filter pattern"),
        ("{ $.a = 1 $.b = 2 }", "Invalid filter pattern"),
        ("{ ($.a = 1 }", "Invalid filter pattern"),
        ("{ $.a > abc }", "Invalid filter pattern"),
        ("{ $.a[x] = 1 }", "Invalid filter pattern"),
        ("{ $.a IS MAYBE }", "Invalid filter pattern"),
        ("{ " + "(" * 500 + "$.a = 1" + ")" * 500 + " }", "nested too deeply"),
        ("[]", "Invalid filter pattern"),
        ("[a, a]", "Invalid filter pattern"),
        ("[..., a, ...]", "Invalid filter pattern"),
        ("[a > b]", "Invalid filter pattern"),
        ("[a b]", "Invalid filter pattern"),
        ("%(a)%", "Invalid character(s) in regex '('"),
        ("%a!%", "Invalid character(s) in regex '!'"),
        ("%ä%", "Invalid character(s) in regex 'ä'"),
        ("%*%", "nothing to repeat"),
        ("%%", "empty"),
        ("%a{9999}{9999}%", "too large"),
        ("%a{3,1}%", "out of order"),
        ("%a% %b% %c%", "at most 2 regular expressions"),
    ],
)
def test_what_is_no_pattern_is_refused_with_a_reason(pattern: str, words: str) -> None:
    with pytest.raises(BadPattern) as caught:
        compile_pattern(pattern)
    assert words in str(caught.value)


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_a_pattern_or_refused(pattern: str, message: str) -> None:
    try:
        test = compile_pattern(pattern)
    except BadPattern:
        return
    if test is not None:
        assert test(message) in (True, False)


_PIECES = st.lists(
    st.sampled_from(
        [
            "{",
            "}",
            "[",
            "]",
            "$.",
            "a",
            "=",
            "!=",
            ">",
            "5",
            '"x*"',
            "&&",
            "||",
            "(",
            ")",
            "...",
            ",",
            " ",
            "%a+%",
            "IS NULL",
            "NOT EXISTS",
            "?",
            "-",
            "\\",
            "*",
            "[0]",
            "%",
        ]
    ),
    max_size=20,
)


@given(_PIECES, st.sampled_from([APACHE, json.dumps(EVENT), "a", ""]))
def test_any_mix_of_pieces_is_a_pattern_or_refused(pieces: list[str], message: str) -> None:
    try:
        test = compile_pattern("".join(pieces))
    except BadPattern:
        return
    if test is not None:
        assert test(message) in (True, False)


@pytest.mark.parametrize(
    "pattern",
    [
        "{ $.a = " + "*a" * 400 + "* }",
        "{ " + "$.*" + ".*" * 450 + " = 1 }",
        "[a = " + "*a" * 400 + ", ...]",
        "%" + "a*" * 200 + "b%",
        "%[ab]*a[ab]{900}c%",
        "%" + ".*" * 100 + "x$%",
    ],
)
@pytest.mark.parametrize("shape", ["flat", "deep", "wide"])
def test_hostile_patterns_and_messages_end_soon(pattern: str, shape: str) -> None:
    message = {
        "flat": json.dumps({"a": "ab" * 50_000}),
        "deep": '{"a":' * 500 + "1" + "}" * 500,
        "wide": json.dumps([["a"] * 100] * 100),
    }[shape]
    test = compile_pattern(pattern)
    assert test is not None
    start = time.thread_time()
    test(message)
    assert time.thread_time() - start < 5

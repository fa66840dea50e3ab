"""The regular expressions of filter patterns agree with Python's where both know a form."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boda.services.logs.patterns.regex import BadRegex, Regex

_ATOM = st.sampled_from(
    [
        "a",
        "b",
        "c",
        "1",
        ".",
        "[ab]",
        "[^a]",
        "[a-c1]",
        r"\d",
        r"\D",
        r"\w",
        r"\W",
        r"\s",
        r"\S",
        r"[\d_]",
        r"[^\w]",
        r"\x61",
        r"\.",
        r"\[",
    ]
)
_TIMES = st.sampled_from(["", "", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "{0,}"])
_SEQUENCE = st.lists(st.tuples(_ATOM, _TIMES).map("".join), min_size=1, max_size=6).map("".join)
_BRANCH = st.tuples(st.sampled_from(["", "", "^"]), _SEQUENCE, st.sampled_from(["", "", "$"])).map(
    "".join
)
_EXPRESSION = st.lists(_BRANCH, min_size=1, max_size=3).map("|".join)


@settings(max_examples=500)
@given(_EXPRESSION, st.text(alphabet="abc1_. \n[é", max_size=12))
def test_agrees_with_python(expression: str, text: str) -> None:
    assert Regex(expression).search(text) is (re.search(expression, text, re.A) is not None)


@pytest.mark.parametrize(
    "expression",
    [
        "(a)",
        "a**",
        "a*?",
        "+a",
        "a|",
        "|a",
        "[",
        "[]",
        "[z-a]",
        "a$b",
        "a^b",
        r"\q",
        r"\x6",
        "{",
        "é",
        "a{2001}",
        "a{1000}b{1001}",
    ],
)
def test_refuses_what_cloudwatch_does_not_know(expression: str) -> None:
    with pytest.raises(BadRegex):
        Regex(expression)


@given(st.text(max_size=30))
def test_any_text_is_an_expression_or_refused(expression: str) -> None:
    with contextlib.suppress(BadRegex):
        Regex(expression).search("abc")

"""Matching of ``*``, ``?`` and variables: right, and never slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boda.core.wildcard import Pattern, VariablePattern, split_arn

_SMALL = st.text(alphabet="ab:/*?.\n", max_size=14)


def _by_regex(pattern: str, text: str) -> bool:
    source = "".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern)
    return re.fullmatch(source, text, re.DOTALL) is not None


@given(_SMALL, _SMALL)
def test_agrees_with_the_definition(pattern: str, text: str) -> None:
    assert Pattern.parse(pattern).matches(text) == _by_regex(pattern, text)


@given(_SMALL, st.lists(st.text(alphabet="ab:/", max_size=4), max_size=14))
def test_what_a_pattern_makes_it_matches(pattern: str, fillings: list[str]) -> None:
    fill = iter(fillings)
    text = "".join(next(fill, "") if c == "*" else "a" if c == "?" else c for c in pattern)
    assert Pattern.parse(pattern).matches(text)


@given(st.text(max_size=30))
def test_any_text_matches_itself_with_case_ignored(text: str) -> None:
    plain = text.replace("*", "").replace("?", "")
    assert Pattern.parse(plain, ignore_case=True).matches(plain.lower())


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("*a" * 1500 + "b", "a" * 20_000),
        ("*?a" * 1000 + "b", "a" * 20_000),
        ("*" + "?a" * 1500 + "b*", "a" * 20_000),
        ("**" * 3000 + "b", "a" * 20_000),
    ],
)
def test_hostile_patterns_end_soon(pattern: str, text: str) -> None:
    before = time.perf_counter()
    assert not Pattern.parse(pattern).matches(text)
    assert time.perf_counter() - before < 5.0


def _template(text: str, value: str, **variables: str) -> bool | None:
    return VariablePattern(text, variables=True).matches(value, variables.get)


def test_variables_are_literal_text() -> None:
    assert _template("home/${name}/*", "home/bob/x", name="bob")
    assert not _template("home/${name}/*", "home/alice/x", name="*")
    assert _template("home/${name}/*", "home/*/x", name="*")


def test_a_variable_without_a_value_stands_for_nothing() -> None:
    assert _template("home/${name}/*", "home//x") is None
    assert _template("home/${name, 'guest'}/*", "home/guest/x") is True


def test_escapes_are_the_characters_themselves() -> None:
    assert _template("a${*}b${?}c${$}", "a*b?c$") is True
    assert _template("a${*}b", "axxb") is False


def test_without_variables_the_sign_is_text() -> None:
    template = VariablePattern("x${name}", variables=False)
    assert template.matches("x${name}", lambda _name: "bob")


def test_an_arn_is_cut_outside_of_variables() -> None:
    assert split_arn("arn:aws:iam::${aws:PrincipalAccount}:user/a:b") == [
        "arn",
        "aws",
        "iam",
        "",
        "${aws:PrincipalAccount}",
        "user/a:b",
    ]

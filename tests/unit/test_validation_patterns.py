"""Java's patterns in Python: right answers, and never a wait."""

from __future__ import annotations

import time

import pytest

from boda.gateway.calling.models import Models
from boda.gateway.calling.patterns import matcher
from support.dialects import DIALECTS

TAG = r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$"


@pytest.mark.parametrize(
    ("pattern", "right", "wrong"),
    [
        (r"[\w+=,.@-]+", ["a_Z9+=,.@-"], ["", "a b", "ä", "a\n"]),
        (r"[\w-.]+", ["a-.b"], ["a,b"]),
        (r"\d{12}", ["123456789012"], ["١٢٣٤٥٦٧٨٩٠١٢", "1234"]),
        (r"[^\s]+", ["a\u00a0b"], ["a b", "a\tb"]),
        (r"\S+", ["ab"], ["a b"]),
        (TAG, ["Größe 1", "", "ключ", "a\u2003b", "x" * 5000], ["a!", "a\n", "x" * 5000 + "!"]),
        (r"^[^\p{Cntrl}]*$", ["a b"], ["a\x07"]),
        (r"a|$", ["a", ""], ["b", "\n"]),
        (r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)", ["1a"], ["12"]),
        (r"[\p{Alpha}&&x]+", ["a&"], ["1"]),
        (r"[a[b]+", ["[a"], ["c"]),
        (r"[^]]+", ["a"], ["]"]),
        (r"[\]]+", ["]"], ["a"]),
        (r"(a++)b", ["aab"], ["aac"]),
        # nested loops: the parallel machine
        (r"([a-z]+)+", ["abc"], ["", "abc1", "a" * 200 + "!"]),
        (r"^(?:[a-z0-9]+(?:[._-][a-z0-9]*)*/)*[a-z0-9]*$", ["a.b/c", ""], ["a//b", "A"]),
        (r"((/[A-Za-z0-9\.,\+@=_-]+)*)/", ["/", "/a/b/"], ["a", "/a"]),
        (r"([0-9a-f]{16})+", ["0123456789abcdef" * 3], ["0123456789abcde"]),
        (r"(a{2,3}b?)*c", ["aabaaac", "c"], ["ac", "aabb"]),
    ],
)
def test_matches_in_whole(pattern: str, right: list[str], wrong: list[str]) -> None:
    matches = matcher(pattern)
    assert matches is not None
    assert [text for text in right if not matches(text)] == []
    assert [text for text in wrong if matches(text)] == []


@pytest.mark.parametrize(
    "pattern", ["(", r"[\u0020-", r"\Qa\E", r"[\P{L}]", r"\p{Novel}+", "a{2,1}"]
)
def test_what_is_not_understood_is_not_checked(pattern: str) -> None:
    assert matcher(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    [
        r"(a+)+b",
        r"(a|a)*b",
        r"(a|aa)+b",
        r"([ \t]*[a-z ]+)*!",
        r"^[ \t]*[\x20-\x7E]+([ \t]+[\x20-\x7E]+)*[ \t]*$",
        r".*.*.*.*!",
        r"[a-z]+[a-z ]*[a-z]+!",
        r"(?=(a+)+$)a*",
    ],
)
@pytest.mark.parametrize(
    "text", ["a" * 60, "a " * 30 + "\x00", "a" * 20_000, "a " * 5_000 + "\x00"]
)
def test_no_pattern_takes_long(pattern: str, text: str) -> None:
    matches = matcher(pattern)
    if matches is not None:
        before = time.process_time()
        matches(text)
        assert time.process_time() - before < 2


def test_nearly_all_patterns_of_the_services_here_are_understood() -> None:
    models = Models(dialects=DIALECTS)
    for service in ("lambda", "iam", "sts", "logs", "events", "dynamodb", "scheduler"):
        shapes = models.service(service)._shape_resolver._shape_map
        patterns = {shape["pattern"] for shape in shapes.values() if shape.get("pattern")}
        unknown = [pattern for pattern in patterns if matcher(pattern) is None]
        assert len(unknown) <= max(1, len(patterns) / 20), unknown

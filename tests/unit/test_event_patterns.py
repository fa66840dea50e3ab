"""The language of event patterns: what matches, what is refused, and that both are quick."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boda.events.patterns import PatternError, compile_pattern

EVENT = {
    "source": "shop",
    "detail-type": "Order",
    "account": "000000000000",
    "resources": ["arn:one", "arn:two"],
    "detail": {
        "state": "paid",
        "count": 3,
        "price": 300,
        "open": True,
        "gone": None,
        "empty": "",
        "none": [],
        "ip": "10.1.2.3",
        "file": "dir/image.PNG",
        "customer": {"name": "Ada", "tags": ["new", "vip"]},
        "lines": [{"item": "a", "size": 1}, {"item": "b", "size": 2}],
    },
}


def matches(pattern: Any, event: Any = EVENT) -> bool:
    return compile_pattern(json.dumps(pattern)).matches(event)


def detail(**fields: Any) -> bool:
    return matches({"detail": fields})


def reason(pattern: str) -> str:
    with pytest.raises(PatternError) as refused:
        compile_pattern(pattern)
    return str(refused.value)


def test_exact_values_have_their_types() -> None:
    assert detail(state=["sent", "paid"])
    assert not detail(state=["Paid"])
    assert detail(count=[3]) and detail(count=[3.0]) and not detail(count=["3"])
    assert detail(price=[3e2])
    assert detail(open=[True]) and not detail(open=[1]) and not detail(open=["true"])
    assert not detail(count=[True])
    assert detail(gone=[None]) and not detail(gone=["null"]) and not detail(gone=[""])
    assert detail(empty=[""]) and not detail(empty=[None])
    assert not detail(missing=[None]) and not detail(none=[None])


def test_all_fields_must_match_and_one_value_suffices() -> None:
    assert matches({"source": ["shop"], "detail": {"state": ["paid"], "count": [3]}})
    assert not matches({"source": ["shop"], "detail": {"state": ["paid"], "count": [4]}})
    assert matches({"resources": ["arn:two"]}) and not matches({"resources": ["arn:three"]})
    assert detail(customer={"tags": ["vip"]}) and not detail(customer={"tags": ["old"]})
    assert not matches({"source": {"shop": ["x"]}})


def test_texts() -> None:
    assert detail(state=[{"prefix": "pa"}]) and not detail(state=[{"prefix": "ai"}])
    assert detail(file=[{"suffix": ".PNG"}]) and not detail(file=[{"suffix": ".png"}])
    assert detail(file=[{"suffix": {"equals-ignore-case": ".png"}}])
    assert detail(file=[{"prefix": {"equals-ignore-case": "DIR/"}}])
    assert detail(state=[{"equals-ignore-case": "PAID"}])
    assert not detail(state=[{"equals-ignore-case": "PAI"}])
    assert not detail(count=[{"prefix": "3"}])
    assert detail(state=[{"prefix": ""}]) and not detail(count=[{"prefix": ""}])
    assert matches({"a": [{"equals-ignore-case": "straße"}]}, {"a": "STRASSE"})
    assert not matches({"a": [{"equals-ignore-case": "straße"}]}, {"a": "strasse"})
    assert matches({"a": [{"suffix": {"equals-ignore-case": "ß"}}]}, {"a": "MASS"})


def test_wildcards() -> None:
    assert detail(file=[{"wildcard": "dir/*.PNG"}]) and detail(file=[{"wildcard": "*"}])
    assert not detail(file=[{"wildcard": "dir/*.png"}])
    assert matches({"a": [{"wildcard": "a*b*c"}]}, {"a": "abc"})
    assert not matches({"a": [{"wildcard": "ab*bc"}]}, {"a": "abc"})
    assert matches({"a": [{"wildcard": r"\*\\*"}]}, {"a": r"*\x"})
    assert not matches({"a": [{"wildcard": "3*"}]}, {"a": 3})
    assert matches({"a": [{"wildcard": ""}]}, {"a": ""})


def test_anything_but() -> None:
    assert detail(state=[{"anything-but": "sent"}]) and not detail(state=[{"anything-but": "paid"}])
    assert detail(count=[{"anything-but": [1, 2]}]) and not detail(count=[{"anything-but": [3]}])
    assert detail(open=[{"anything-but": [1, 2]}]), "a value of another type is another value"
    assert detail(gone=[{"anything-but": ["paid"]}])
    assert not detail(missing=[{"anything-but": "paid"}]), "the field must be there"
    assert not detail(none=[{"anything-but": "paid"}])
    assert detail(customer={"tags": [{"anything-but": "vip"}]}), "one element suffices"
    for operator, excluded, other in (
        ("prefix", "pa", "se"),
        ("suffix", "id", "nt"),
        ("equals-ignore-case", "PAID", "SENT"),
        ("wildcard", "p*d", "s*t"),
    ):
        assert not detail(state=[{"anything-but": {operator: excluded}}]), operator
        assert not detail(state=[{"anything-but": {operator: [other, excluded]}}]), operator
        assert detail(state=[{"anything-but": {operator: [other]}}]), operator
        assert detail(count=[{"anything-but": {operator: excluded}}]), operator
        assert not detail(missing=[{"anything-but": {operator: excluded}}]), operator


def test_numbers() -> None:
    assert detail(count=[{"numeric": ["=", 3]}]) and not detail(count=[{"numeric": ["=", 4]}])
    assert detail(count=[{"numeric": [">", 0, "<=", 3]}])
    assert not detail(count=[{"numeric": [">", 3]}]) and detail(count=[{"numeric": [">=", 3]}])
    assert not detail(count=[{"numeric": ["<", 3]}]) and detail(count=[{"numeric": ["<=", 3.0]}])
    assert not detail(state=[{"numeric": [">", 0]}]) and not detail(open=[{"numeric": [">", 0]}])


def test_addresses() -> None:
    assert detail(ip=[{"cidr": "10.0.0.0/8"}]) and not detail(ip=[{"cidr": "10.1.3.0/24"}])
    assert not detail(state=[{"cidr": "10.0.0.0/8"}]) and not detail(count=[{"cidr": "0.0.0.0/0"}])
    assert matches({"a": [{"cidr": "2001:db8::/32"}]}, {"a": "2001:0DB8:0::1"})
    assert not matches({"a": [{"cidr": "0.0.0.0/0"}]}, {"a": "::1"})
    assert matches({"a": ["2001:db8::1"]}, {"a": "2001:0db8:0::1"}), "addresses are values"


def test_existence() -> None:
    assert detail(gone=[{"exists": True}]) and detail(missing=[{"exists": False}])
    assert not detail(missing=[{"exists": True}]) and not detail(state=[{"exists": False}])
    assert not detail(customer=[{"exists": True}]), "only leaves exist"
    assert detail(customer=[{"exists": False}])
    assert not detail(none=[{"exists": True}]) and detail(none=[{"exists": False}])
    assert detail(state=[{"exists": False}, "paid"]) and detail(missing=[{"exists": False}, "x"])
    assert detail(state=[{"exists": True}, {"prefix": "x"}])


def test_all_that_is_said_of_an_array_must_hold_of_one_element() -> None:
    assert detail(lines={"item": ["a"], "size": [1]})
    assert not detail(lines={"item": ["a"], "size": [2]})
    nested = {"a": [[{"x": 1, "b": [{"y": 1, "z": 2}, {"y": 2, "z": 1}]}], [{"x": 2}]]}
    assert matches({"a": {"x": [1], "b": {"y": [1], "z": [2]}}}, nested)
    assert not matches({"a": {"x": [1], "b": {"y": [1], "z": [1]}}}, nested)
    assert not matches({"a": {"x": [2], "b": {"y": [1]}}}, nested)
    assert matches({"a": ["s"], "b": [1]}, {"a": ["s", "t"], "b": [[1], 2]})


def test_a_field_is_absent_from_the_element_that_was_chosen() -> None:
    event = {"a": [{"b": "x"}, {"b": "y", "c": 1}]}
    assert matches({"a": {"b": ["x"], "c": [{"exists": False}]}}, event)
    assert not matches({"a": {"b": ["y"], "c": [{"exists": False}]}}, event)
    assert not matches({"a": {"c": [{"exists": False}]}}, event)


def test_keys_with_dots_are_paths() -> None:
    for event in (
        {"a": {"b": {"c": 1}}},
        {"a.b.c": 1},
        {"a.b": {"c": 1}},
        {"a": {"b.c": 1}},
    ):
        assert matches({"a": {"b": {"c": [1]}}}, event), event
        assert matches({"a.b.c": [1]}, event), event
        assert not matches({"a.b": [1]}, event), event


def test_or() -> None:
    pattern = {"source": ["shop"], "$or": [{"detail": {"count": [9]}}, {"account": ["1"]}]}
    assert not matches(pattern)
    assert matches({**pattern, "$or": [*pattern["$or"], {"detail": {"state": ["paid"]}}]})
    assert not matches({**pattern, "source": ["x"], "$or": [{"source": ["x"]}, {"account": ["0"]}]})
    both = {"detail": {"$or": [{"count": [3]}, {"count": [4]}], "state": ["paid"]}}
    assert matches(both)
    nested = {"$or": [{"source": ["x"]}, {"$or": [{"source": ["y"]}, {"source": ["shop"]}]}]}
    assert matches(nested)


def test_the_last_of_two_equal_fields_counts() -> None:
    assert compile_pattern('{"a": ["x"], "a": ["y"]}').matches({"a": "y"})
    last = compile_pattern('{"a": ["1"], "$or": [{"a": ["2"]}, {"b": ["3"]}]}')
    assert last.matches({"a": "2"}) and not last.matches({"a": "1"})
    first = compile_pattern('{"$or": [{"a": ["2"]}, {"b": ["3"]}], "a": ["1"]}')
    assert not first.matches({"a": "2"}) and first.matches({"a": "1", "b": "3"})


def test_an_or_that_is_none_is_a_field() -> None:
    assert matches({"$or": {"a": ["x"]}}, {"$or": {"a": "x"}})
    assert matches({"$or": [{"prefix": "x"}, {"suffix": "y"}]}, {"$or": "xx"})
    assert matches({"$or": ["x"]}, {"$or": "x"})
    assert reason('{"$or": [{"a": ["x"]}]}').startswith(
        "There must have at least 2 Objects in $or relationship.\n at [Source: (String)"
    )


def test_an_event_that_is_no_object_never_matches() -> None:
    for event in ("text", None, [EVENT], 5):
        assert not matches({"a": [{"exists": False}]}, event)


def test_the_row_of_a_fault_is_told() -> None:
    pattern = '{\n  "a": ["x"],\r\n  "b": "y"\n}'
    assert reason(pattern) == (
        f'"b" must be an object or an array\n at [Source: (String)"{pattern}"; line: 3, column: 9]'
    )


def test_a_long_source_is_cut_in_what_is_told() -> None:
    pattern = json.dumps({"a": "x" * 600})
    assert reason(pattern).endswith(
        f'(String)"{pattern[:500]}"[truncated {len(pattern) - 500} chars]; line: 1, column: 8]'
    )


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("{}", "Empty objects are not allowed"),
        ('{"a": {}}', "Empty objects are not allowed"),
        ('{"a": []}', "Empty arrays are not allowed"),
        ('{"a": [{}]}', "Match expression name not found"),
        ('{"a": [{"exists": "x"}]}', "exists match pattern must be either true or false."),
        ('{"a": [{"numeric": []}]}', "Invalid member in numeric match: ]"),
        ('{"a": [{"numeric": [5]}]}', "Invalid member in numeric match: 5"),
        ('{"a": [{"numeric": ["=", "5"]}]}', "Value of equals must be numeric"),
        ('{"a": [{"numeric": ["<>", 5]}]}', "Unrecognized numeric range operator: <>"),
        ('{"a": [{"numeric": [">", 0, ">", 1]}]}', "Bad numeric range operator: >"),
        ('{"a": [{"numeric": [">", 0, 1]}]}', "Bad value in numeric range: 1"),
        ('{"a": [{"numeric": [">", 2, "<", 2]}]}', "Bottom must be less than top"),
        ('{"a": [{"numeric": ["<", 2, ">", 1]}]}', "Too many elements in numeric expression"),
        (
            '{"a": [{"numeric": [">", 1, "<", 2, 3]}]}',
            "Too many terms in numeric range expression",
        ),
        ('{"a": [{"numeric": ["<", 1e999]}]}', "Cannot compare number : 1e999"),
        ('{"a": [{"anything-but": true}]}', "Value of anything-but must be an array or single"),
        ('{"a": [{"anything-but": {"cidr": "x"}}]}', "Unsupported anything-but pattern: cidr"),
        ('{"a": [{"anything-but": {}}]}', "Anything-But expression name not found"),
        ('{"a": [{"anything-but": []}]}', "Inside anything but list, either all values"),
        ('{"a": [{"anything-but": ["x", 1]}]}', "Inside anything but list, either all values"),
        ('{"a": [{"anything-but": {"prefix": []}}]}', "Empty arrays are not allowed"),
        (
            '{"a": [{"anything-but": {"prefix": {"equals-ignore-case": "x"}}}]}',
            "Value of anything-but must be an array or single string/number value.",
        ),
        ('{"a": [{"prefix": {"suffix": "x"}}]}', "Unsupported prefix pattern: suffix"),
        ('{"a": [{"suffix": {}}]}', "Suffix expression name not found"),
        ('{"a": [{"wildcard": "a\\\\b"}]}', "Invalid escape character at pos 2"),
        ('{"a": [{"wildcard": "é**"}]}', "Consecutive wildcard characters at pos 3"),
        ('{"a": [{"cidr": 5}]}', "prefix match pattern must be a string"),
        ("", "Filter is not an object"),
        ('{"a"', "Unexpected end-of-input within/between Object entries"),
        (
            '{"a": ["x"',
            "Unexpected end-of-input: expected close marker for Array (start marker at "
            '[Source: (String)"{"a": ["x""; line: 1, column: 7])',
        ),
        ('{"a": ["x}', "Unexpected end-of-input: was expecting closing quote for a string value"),
        ('{"a": ["x" "y"]}', "Unexpected character ('\"' (code 34)): was expecting comma"),
        ('{"a" ["x"]}', "Unexpected character ('[' (code 91)): was expecting a colon"),
        ('{"a": ["x"}', "Unexpected close marker '}': expected ']' (for Array starting at"),
        ('{"a": [01]}', "Invalid numeric value: Leading zeroes not allowed"),
        ('{"a": [-]}', "Unexpected character (']' (code 93)) in numeric value: expected digit"),
        ('{"a": [1.]}', "Unexpected character (']' (code 93)) in numeric value: Decimal point"),
        ('{"a": ["\\x"]}', "Unrecognized character escape 'x' (code 120)"),
        ('{"a": ["\n"]}', "Illegal unquoted character ((CTRL-CHAR, code 10)): has to be escaped"),
        ('{"a": [,]}', "Unexpected character (',' (code 44)): expected a valid value (JSON"),
    ],
)  # fmt: skip
def test_refusals_have_words_and_a_place(pattern: str, wanted: str) -> None:
    said = reason(pattern)
    assert said.startswith(wanted)
    assert "\n at [Source: (String)" in said


@pytest.mark.parametrize(
    ("block", "wanted"),
    [
        ("10.0.0.0", "Malformed CIDR, one '/' required"),
        ("10.0.0.0/", "Malformed CIDR, one '/' required"),
        ("10.0.0.0/8/8", "Malformed CIDR, one '/' required"),
        ("10.0.0.0/-1", "Malformed CIDR, mask bits must not be negative"),
        ("10.0.0.0/32", "IPv4 mask bits must be < 32"),
        ("::/128", "IPv6 mask bits must be < 128"),
        ("300.0.0.0/8", "Invalid IP address: 300.0.0.0"),
        ("host/8", "Nonstandard IP address: host"),
    ],
)
def test_refusals_of_addresses_have_no_place(block: str, wanted: str) -> None:
    assert reason(json.dumps({"a": [{"cidr": block}]})) == wanted


@pytest.mark.parametrize(
    ("texts", "accepted"),
    [
        (["arn:aws:events:us-east-1:*:event-bus/*"], True),
        (["*:*:*:*:*:event-bus/*"], False),
        (["/Users/*/dir/dir/dir/dir/dir/doc.txt"], True),
        (["*.bif", "*.tiff", "*.tif", "*.svs"], True),
        ([f"*/datasync/*.{each}" for each in ("bif", "tif")], True),
        ([f"*/datasync/*.{each}" for each in ("bif", "tif", "tiff", "svs")], False),
        ([f"*:stack/{each}/*" for each in ("Network", "Shared", "App")], True),
        ([f"*:stack/{each}/*" for each in ("Network", "Shared", "App", "Monitoring")], False),
    ],
)
def test_wildcards_are_as_complex_as_aws_was_seen_to_find_them(
    texts: list[str], accepted: bool
) -> None:
    pattern = json.dumps({"a": [{"wildcard": each} for each in texts]})
    if accepted:
        compile_pattern(pattern)
    else:
        assert reason(pattern).startswith("Rule is too complex - try using fewer wildcard")
    negated = json.dumps({"a": [{"anything-but": {"wildcard": texts}}]})
    if accepted:
        compile_pattern(negated)
    else:
        assert reason(negated).startswith("Rule is too complex")


def test_the_number_of_alternatives_is_bounded() -> None:
    fork = {"$or": [{"a": ["x"]}, {"b": ["y"]}]}
    pattern = {str(number): fork for number in range(10)}
    assert reason(json.dumps(pattern)).startswith("Event pattern contains more than 1000")


def test_depth_is_bounded() -> None:
    assert reason('{"a":' * 5000).startswith("Document nesting depth")
    deep = "[" * 900 + "1" + "]" * 900
    assert matches({"a": [1]}, {"a": json.loads(deep)})


def test_hostile_patterns_and_events_take_no_time() -> None:
    began = time.perf_counter()
    stars = {"a": [{"wildcard": "*".join("abcdefg")}]}
    assert not matches(stars, {"a": "abcdef" * 50_000})
    reason(json.dumps({"a": [{"wildcard": "*" + "ab" * 2000}]}))
    matches({"a": [{"suffix": {"equals-ignore-case": "a" * 2000 + "b"}}]}, {"a": "a" * 500_000})
    lines = [{"x": 1, "y": number, "z": [{"u": number, "v": 2}] * 3} for number in range(10_000)]
    assert not matches(
        {"a": {"x": [1], "y": [{"exists": True}], "z": {"u": [{"exists": True}], "v": [1]}}},
        {"a": lines},
    )
    apart = {str(number): [{"x": each} for each in range(2000)] for number in range(8)}
    present = {key: {"x": [{"exists": True}]} for key in apart}
    both = {"p": [{"exists": True}], "q": [{"exists": True}]}
    assert not matches({**present, "z": both}, {**apart, "z": [{"p": 1}, {"q": 1}]})
    assert time.perf_counter() - began < 5


_LEAF = st.one_of(st.sampled_from(["x", "y"]), st.integers(0, 2), st.none(), st.booleans())
_PATHS = st.sampled_from(["a", "b", "a.b", "a.c", "b.c"])


def _nested(children: Any) -> Any:
    return st.lists(children, max_size=3) | st.dictionaries(
        st.sampled_from(["a", "b", "c", "a.b"]), children, max_size=3
    )


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.recursive(_LEAF, _nested, max_leaves=12)),
    st.dictionaries(
        _PATHS,
        st.lists(_LEAF | st.just({"exists": True}), min_size=1, max_size=2),
        min_size=1,
        max_size=3,
    ),
)
def test_matching_agrees_with_trying_all_choices(
    event: dict[str, Any], pattern: dict[str, list[Any]]
) -> None:
    assert compile_pattern(json.dumps(pattern)).matches(event) == _tried(pattern, event)


def _tried(pattern: dict[str, list[Any]], event: dict[str, Any]) -> bool:
    """Match by the definition: some value for each field, no two in different elements."""
    found: dict[str, list[tuple[Any, dict[int, int]]]] = {}

    def walk(path: str, value: Any, chosen: dict[int, int]) -> None:
        if isinstance(value, dict):
            for key, member in value.items():
                walk(f"{path}.{key}" if path else key, member, chosen)
        elif isinstance(value, list):
            for index, member in enumerate(value):
                inside = isinstance(member, dict | list)
                walk(path, member, {**chosen, id(value): index} if inside else chosen)
        else:
            found.setdefault(path, []).append((value, chosen))

    walk("", event, {})

    def choose(fields: list[str], chosen: dict[int, int]) -> bool:
        if not fields:
            return True
        return any(
            choose(fields[1:], {**chosen, **where})
            for value, where in found.get(fields[0], [])
            if any(
                wanted == {"exists": True} or (wanted == value and type(wanted) is type(value))
                for wanted in pattern[fields[0]]
            )
            and all(chosen.get(array, index) == index for array, index in where.items())
        )

    return choose(sorted(pattern), {})


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet='{}[]":,0a\\ ', max_size=60))
def test_no_text_raises_anything_but_a_refusal(text: str) -> None:
    with contextlib.suppress(PatternError):
        compile_pattern(text)

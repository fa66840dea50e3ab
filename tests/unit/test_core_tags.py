"""Tags: forms, limits, and adding and removing, in a service's own words."""

from __future__ import annotations

import dataclasses

import pytest

from boda.core.errors import AwsError
from boda.core.tags import TagRules, as_list, pairs

RULES = TagRules(
    reserved=lambda key, value: AwsError("Reserved", f"{key}={value}"),
    too_many=lambda: AwsError("TooMany", ""),
    repeated=lambda key, value: AwsError("Repeated", f"{key}={value}"),
    bad_key=lambda key, value: AwsError("BadKey", f"{key}={value}"),
    bad_value=lambda key, value: AwsError("BadValue", f"{key}={value}"),
    limit=3,
)
FOLDING = dataclasses.replace(RULES, same=str.lower)
MODELLED = TagRules(reserved=RULES.reserved, too_many=RULES.too_many, limit=3)


def refused(given: list[tuple[str, str]], rules: TagRules = RULES) -> str:
    with pytest.raises(AwsError) as caught:
        rules.read(given)
    return str(caught.value)


def test_tags_are_read_in_their_order() -> None:
    given = [("b", "1"), ("a", ""), ("é ü.:/=+-@_٣", "x" * 256)]
    assert list(RULES.read(given).items()) == given
    assert RULES.read([("k" * 128, "")]) == {"k" * 128: ""}


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("", "v", "BadKey"),
        ("k" * 129, "v", "BadKey"),
        ("k!", "v", "BadKey"),
        ("k", "v" * 257, "BadValue"),
        ("k", "v!", "BadValue"),
        ("aws:k", "v", "Reserved"),
        ("AWS:k", "v", "Reserved"),
        ("first", "v", "Repeated"),
    ],
)
def test_a_wrong_tag_is_refused_in_the_words_of_the_service(
    key: str, value: str, code: str
) -> None:
    assert refused([("first", "1"), (key, value)]) == f"{code}: {key}={value}"


def test_what_the_model_checks_is_not_checked_again() -> None:
    given = [("k" * 129, "v!"), ("k", "v")]
    assert MODELLED.read(given) == dict(given)
    assert "Reserved" in refused([("aws:k", "v")], MODELLED)


def test_keys_of_another_case_are_others_unless_the_service_folds_them() -> None:
    given = [("k", "1"), ("K", "2")]
    assert RULES.read(given) == {"k": "1", "K": "2"}
    assert refused(given, FOLDING) == "Repeated: K=2"
    assert RULES.add({"k": "1"}, {"K": "2"}) == {"k": "1", "K": "2"}
    assert list(FOLDING.add({"k": "1", "x": "0"}, {"K": "2", "y": "3"}).items()) == [
        ("K", "2"),
        ("x", "0"),
        ("y", "3"),
    ]
    assert FOLDING.remove({"k": "1", "x": "0"}, ["K", "absent"]) == {"x": "0"}
    assert RULES.remove({"k": "1"}, ["K"]) == {"k": "1"}


def test_there_are_at_most_as_many_as_the_limit() -> None:
    three = {"a": "", "b": "", "c": ""}
    assert RULES.read(three.items()) == three
    assert "TooMany" in refused([*three.items(), ("d", "")])
    assert RULES.add(three, {"a": "1"}) == {"a": "1", "b": "", "c": ""}
    with pytest.raises(AwsError, match="TooMany"):
        RULES.add(three, {"d": ""})
    boundless = dataclasses.replace(RULES, too_many=None)
    assert len(boundless.add(three, {"d": ""})) == 4


def test_lists_have_the_names_of_the_service() -> None:
    listed = [{"TagKey": "a", "TagValue": "1"}, {"TagKey": "a", "TagValue": "2"}]
    assert pairs(listed, "TagKey", "TagValue") == [("a", "1"), ("a", "2")]
    assert as_list({"a": "2"}, "key", "value") == [{"key": "a", "value": "2"}]
    assert as_list({"a": "2"}) == [{"Key": "a", "Value": "2"}]

"""ARNs are parsed and built in one place."""

from __future__ import annotations

import pytest

from boda.core.arn import (
    Arn,
    bucket_arn,
    build,
    components,
    function_arn,
    is_arn,
    root_arn,
    split_qualifier,
    split_version,
)

FUNCTION = "arn:aws:lambda:eu-west-1:000000000000:function:hello"


def test_what_is_parsed_is_built_again() -> None:
    for text in (
        FUNCTION,
        f"{FUNCTION}:$LATEST",
        "arn:aws:s3:::bucket/a:b/c",
        "arn:aws-cn:iam::000000000000:role/path/name",
        "arn:aws:logs:us-east-1:000000000000:log-group:/aws/lambda/x:log-stream:*",
    ):
        assert str(Arn.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "hello", "arn", "arn:aws:s3::bucket", "arn::s3:::b", "arn:aws:::r:x", "x:a:b:c:d:e"],
)
def test_what_is_no_arn(text: str) -> None:
    assert Arn.read(text) is None
    with pytest.raises(ValueError, match="not an ARN"):
        Arn.parse(text)


def test_resources_are_cut_at_colons_or_slashes() -> None:
    function = Arn.parse(f"{FUNCTION}:live")
    assert function.words == ["function", "hello", "live"]
    assert Arn.parse(FUNCTION).name == "hello" and function.name == "hello:live"
    assert Arn.parse("arn:aws:iam::000000000000:role/a/b").path == ("role", "a/b")
    assert Arn.parse("arn:aws:iam::000000000000:root").path == ("root", "")


def test_arns_are_built() -> None:
    assert function_arn("000000000000", "eu-west-1", "hello") == FUNCTION
    assert build("lambda", "eu-west-1", "000000000000", "function:hello") == FUNCTION
    assert bucket_arn("b") == "arn:aws:s3:::b" and bucket_arn("b", "k/l") == "arn:aws:s3:::b/k/l"
    assert root_arn("000000000000") == "arn:aws:iam::000000000000:root"


def test_qualifiers_and_versions() -> None:
    assert split_qualifier(f"{FUNCTION}:live") == (FUNCTION, "live")
    assert split_qualifier(FUNCTION) == (FUNCTION, "")
    assert split_version(f"{FUNCTION}:12") == (FUNCTION, "12")
    assert split_version("layer") == ("", "layer")
    assert is_arn(FUNCTION) and not is_arn("hello")
    assert components("arn:aws:s3:::a:b") == ["arn", "aws", "s3", "", "", "a:b"]

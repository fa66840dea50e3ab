"""ARNs are parsed and built in one place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import boda
from boda.core.arn import (
    Arn,
    bucket_arn,
    build,
    components,
    function_arn,
    iam_arn,
    is_arn,
    last_name,
    root_arn,
    session_arn,
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
    assert iam_arn("000000000000", "user/a/b") == "arn:aws:iam::000000000000:user/a/b"
    session = session_arn("000000000000", "worker", "me")
    assert session == "arn:aws:sts::000000000000:assumed-role/worker/me"
    assert last_name(session) == "me" and last_name("*") == "*"


def test_qualifiers_and_versions() -> None:
    assert split_qualifier(f"{FUNCTION}:live") == (FUNCTION, "live")
    assert split_qualifier(FUNCTION) == (FUNCTION, "")
    assert split_version(f"{FUNCTION}:12") == (FUNCTION, "12")
    assert split_version("layer") == ("", "layer")
    assert is_arn(FUNCTION) and not is_arn("hello")
    assert components("arn:aws:s3:::a:b") == ["arn", "aws", "s3", "", "", "a:b"]


def test_what_a_model_has_checked_may_lack_its_partition() -> None:
    assert Arn.read("arn::lambda:us-east-1:000000000000:layer:l") is None
    arn = Arn.cut("arn::lambda:us-east-1:000000000000:layer:l")
    assert (arn.partition, arn.region, arn.words) == ("", "us-east-1", ["layer", "l"])
    assert Arn.cut(FUNCTION) == Arn.parse(FUNCTION)


SOURCE = Path(boda.__file__).parent
SPELLED = {
    "core/arn.py": "this is the place",
    "services/lambda_/identifiers.py": "the model's pattern, which errors quote; all but a name "
    "may be left out of it",
    "cli/roles.py": "an example in a sentence for users",
}
CUT = {"core/arn.py": "this is the place"}
NAMES = ("arn", "resource", "target")


def _documents(tree: ast.AST) -> Iterator[ast.Constant]:
    """Docstrings, those of attributes too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _faults(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """What makes or cuts an ARN by hand: the kind of fault and its line."""
    documents = set(_documents(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in documents:
            if isinstance(node.value, str) and re.search(r"arn:(?! )", node.value):
                yield "spelled", node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            cuts = node.func.attr in ("split", "rsplit", "partition", "rpartition")
            at = [each.value for each in node.args if isinstance(each, ast.Constant)]
            cut = ast.unparse(node.func.value).lower()
            if cuts and at[:1] in ([":"], ["/"]) and any(name in cut for name in NAMES):
                yield "cut", node.lineno


def test_no_arn_is_made_or_cut_by_hand() -> None:
    found: dict[str, set[str]] = {"spelled": set(), "cut": set()}
    places = []
    for file in sorted(SOURCE.rglob("*.py")):
        name = str(file.relative_to(SOURCE))
        if name.startswith("guest/"):
            continue
        for fault, line in _faults(ast.parse(file.read_text())):
            found[fault].add(name)
            if name not in (SPELLED if fault == "spelled" else CUT):
                places.append(f"{name}:{line}: {fault}")
    assert places == []
    assert found == {"spelled": set(SPELLED), "cut": set(CUT)}  # no exception without need


@pytest.mark.parametrize(
    ("code", "faults"),
    [
        ('f"arn:aws:sqs:{region}:{account}:q"', ["spelled"]),
        ('"arn:" + rest', ["spelled"]),
        ('f"no such arn: {arn}"', []),
        ("x.arn.split(':', 5)", ["cut"]),
        ("params['ResourceArn'].rpartition(':')", ["cut"]),
        ("source.resource.partition('/')", ["cut"]),
        ("line.split(':')", []),
        ("arn.split()", []),
        ('"""Of an arn:aws:s3:::bucket."""', []),
    ],
)
def test_what_is_made_or_cut_by_hand_is_found(code: str, faults: list[str]) -> None:
    assert [fault for fault, _ in _faults(ast.parse(code))] == faults

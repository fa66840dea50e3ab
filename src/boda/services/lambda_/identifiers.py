"""Parse a caller's reference to a function: a name, ``name:qualifier``, a partial or a full ARN.
Pure.

The shape is the model's pattern of ``NamespacedFunctionName``; the errors are as recorded from the
service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from boda.core.arn import function_arn
from boda.core.errors import AwsError
from boda.invoke.function_table import LATEST
from boda.services.lambda_.errors import constraint, invalid, not_found, resource_not_found

PATTERN = (
    r"(arn:(aws[a-zA-Z-]*)?:lambda:)?"
    r"((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?"
    r"(\d{12}:)?(function:)?([a-zA-Z0-9-_\.]+)"
    r"(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
)

_SHAPE = re.compile(
    r"(?:arn:(?:aws[a-zA-Z-]*)?:lambda:)?"
    r"(?:(?P<region>(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d):)?"
    r"(?:(?P<account>\d{12}):)?(?:function:)?(?P<name>[a-zA-Z0-9_.-]+)"
    r"(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9_-]+))?"
)

_ALIAS = re.compile(r"(?![0-9]+$)[a-zA-Z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Identifier:
    """A function, and the qualifier if the caller gave one.

    meant: the qualifier, or its default. arn: without qualifier. named_arn: as the caller named it,
    with the qualifier only if there was one. All are made once, because the invoke path reads them
    on every call.
    """

    account: str
    region: str
    name: str
    qualifier: str | None = None
    meant: str = field(init=False)
    arn: str = field(init=False)
    named_arn: str = field(init=False)

    def __post_init__(self) -> None:
        arn = function_arn(self.account, self.region, self.name)
        object.__setattr__(self, "meant", self.qualifier or LATEST)
        object.__setattr__(self, "arn", arn)
        named = arn if self.qualifier is None else f"{arn}:{self.qualifier}"
        object.__setattr__(self, "named_arn", named)

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.account, self.region, self.name)


def parse(text: str, qualifier: str | None, account: str, region: str) -> Identifier:
    """Read ``FunctionName`` and ``Qualifier`` of a caller of this account and region.

    Raises AwsError: ValidationException, InvalidParameterValueException if the two qualifiers
    differ, ResourceNotFoundException for another region's function.
    """
    found = _SHAPE.fullmatch(text)
    if found is None:
        rule = f"Member must satisfy regular expression pattern: {PATTERN}"
        raise constraint(text, "functionName", rule)
    own = found["qualifier"]
    if own is not None and qualifier is not None and own != qualifier:
        raise invalid(
            "The derived qualifier from the function name does not match the specified qualifier."
        )
    elsewhere = found["region"]
    if elsewhere is not None and elsewhere != region:
        raise other_region(elsewhere, region)
    return Identifier(
        found["account"] or account,
        region,
        found["name"],
        own if own is not None else qualifier,
    )


def other_region(named: str, here: str) -> AwsError:
    return resource_not_found(
        f"Functions from '{named}' are not reachable in this region ('{here}')"
    )


def is_alias(qualifier: str) -> bool:
    """Return whether a qualifier has the form of an alias's name."""
    return _ALIAS.fullmatch(qualifier) is not None


def is_version(qualifier: str) -> bool:
    return qualifier == LATEST or (qualifier.isascii() and qualifier.isdigit())


def no_such_qualifier(identifier: Identifier) -> AwsError:
    """Return the error for a missing version or alias, or a missing function."""
    named = identifier.qualifier
    if named is not None and is_alias(named) and not is_version(named):
        return resource_not_found(f"Cannot find alias arn: {identifier.named_arn}")
    return not_found(identifier.named_arn)

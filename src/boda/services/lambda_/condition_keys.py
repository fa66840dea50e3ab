"""Lambda's own condition keys, and the source of each. Pure.

Source: Service Authorization Reference, "Condition keys for AWS Lambda".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boda.gateway.asking.tag_keys import Keys
from boda.services.lambda_.identifiers import Identifier
from boda.services.lambda_.settings.answers import vpc_id

CONDITION_KEYS = [
    "lambda:CodeSigningConfigArn",
    "lambda:FunctionArn",
    "lambda:FunctionUrlAuthType",
    "lambda:InvokedViaFunctionUrl",
    "lambda:Layer",
    "lambda:Principal",
    "lambda:SecurityGroupIds",
    "lambda:SourceFunctionArn",
    "lambda:SubnetIds",
    "lambda:VpcIds",
    "lambda:EventSourceToken",
]
"""The last one is never present: it comes with calls of Alexa skills."""


def of_settings(identifier: Identifier, params: Mapping[str, Any]) -> Keys:
    """Return the keys of CreateFunction and UpdateFunctionConfiguration: the settings that the
    request would attach."""
    vpc = params.get("VpcConfig") or {}
    subnets = vpc.get("SubnetIds") or []
    return _given(
        {
            "lambda:Layer": params.get("Layers"),
            "lambda:SubnetIds": subnets,
            "lambda:SecurityGroupIds": vpc.get("SecurityGroupIds"),
            "lambda:VpcIds": [vpc_id(identifier.account, identifier.region)] if subnets else None,
            "lambda:CodeSigningConfigArn": params.get("CodeSigningConfigArn"),
        }
    )


def of_grant(principal: str | None, url_auth_type: str | None) -> Keys:
    """Return the keys of AddPermission and RemovePermission."""
    return _given({"lambda:Principal": principal, "lambda:FunctionUrlAuthType": url_auth_type})


def of_statement(statement: Mapping[str, Any]) -> Keys:
    """Return the same keys for a statement of a function's policy."""
    principal = statement.get("Principal")
    if isinstance(principal, Mapping):
        principal = next(iter(principal.values()), None)
    tests = (statement.get("Condition") or {}).get("StringEquals") or {}
    return of_grant(principal, tests.get("lambda:FunctionUrlAuthType"))


def of_url(identifier: Identifier, auth_type: str | None) -> Keys:
    """Return the keys of operations on a function URL's config."""
    return _given({"lambda:FunctionArn": identifier.arn, "lambda:FunctionUrlAuthType": auth_type})


def _given(keys: Mapping[str, Any]) -> Keys:
    return {name: value for name, value in keys.items() if value}

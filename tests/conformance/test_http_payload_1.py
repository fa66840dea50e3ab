"""Functions' results behind a REST API become the answers that AWS was recorded to give."""

from __future__ import annotations

from typing import Any

from support.http_forms import answered
from support.recorded import recorded

RESULTS: dict[str, Any] = {
    "just-string": "just a string",
    "wrong-format": {"wrongValue": "value"},
    "empty-response": None,
    "no-body": {"statusCode": 201},
    "only-headers": {"headers": {"test-header": "value"}},
    "with-headers": {
        "statusCode": 200,
        "headers": {"test-header": "value", "header-bool": True},
    },
    "with-headers-null": {"statusCode": 200, "headers": None},
    "multi-headers-invalid": {"multiValueHeaders": {"test-multi": "value1"}},
    "multi-headers-valid": {"multiValueHeaders": {"test-multi": ["value1", "value2"]}},
    "multi-headers-overwrite": {
        "headers": {"test-multi": "value-solo"},
        "multiValueHeaders": {"test-multi": ["value-multi"]},
    },
    "multi-headers-overwrite-casing": {
        "headers": {"test-multi": "value-solo"},
        "multiValueHeaders": {"tesT-Multi": ["value-multi"]},
    },
    "invalid-status-code": {"statusCode": "test"},
    "status-code-str": {"statusCode": "201"},
    "b64-encoded-true": {"body": "dGVzdC1kYXRh", "isBase64Encoded": True},
    "b64-encoded-false": {"body": "dGVzdC1kYXRh", "isBase64Encoded": False},
}
_OF_THE_GATEWAY = {
    *("Connection", "Content-Length", "Date", "Via", "X-Amz-Cf-Id", "X-Amz-Cf-Pop"),
    *("X-Amzn-Trace-Id", "X-Cache", "x-amz-apigw-id", "x-amzn-RequestId"),
}


def test_results_are_answered_as_recorded() -> None:
    steps = recorded(
        "apigateway",
        "test_apigateway_lambda",
        "test_aws_proxy_response_payload_format_validation",
    )
    assert steps.keys() == {f"invoke-api-{name}" for name in RESULTS}
    for name, result in RESULTS.items():
        step = steps[f"invoke-api-{name}"]
        if step["content"] == {"message": "Internal server error"}:
            assert answered(result) is None, name
            continue
        found = answered(result)
        assert found is not None, name
        assert found[2].decode() == step["content"], name
        wanted = {
            header: value
            for header, value in step.get("headers", found[1]).items()
            if header not in _OF_THE_GATEWAY
        }
        assert found[1] == wanted, name

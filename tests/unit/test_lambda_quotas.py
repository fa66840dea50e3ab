"""Quotas are data in one place, and may be set."""

from __future__ import annotations

from pathlib import Path

import pytest

from boda.services import lambda_
from boda.services.lambda_ import Quotas, adjusted
from support.lambda_world import world


def test_what_is_not_named_stays_as_on_aws() -> None:
    assert adjusted([]) == Quotas()
    assert adjusted(["timeout_s=60", "tags=5"]) == Quotas(timeout_s=60, tags=5)


@pytest.mark.parametrize("change", ["speed=1", "tags", "tags=", "tags=-1", "tags=many", ""])
def test_what_is_no_quota_says_so(change: str) -> None:
    with pytest.raises(ValueError, match="quota"):
        adjusted([change])


async def test_a_set_quota_is_enforced_with_awss_error(tmp_path: Path) -> None:
    quotas = adjusted(["tags=1", "concurrent_executions=150"])
    async with world(tmp_path, options=lambda_.Options(quotas=quotas)) as here:
        await here.create("f", Tags={"a": "b"})
        error = await here.error("TagResource", Resource=_arn("f"), Tags={"c": "d"})
        assert error.message == "Number of tags exceeds resource tag limit."
        error = await here.error(
            "PutFunctionConcurrency", FunctionName="f", ReservedConcurrentExecutions=51
        )
        assert "below its minimum value of [100]" in error.message
        settings = await here.call("GetAccountSettings")
        assert settings["AccountLimit"]["ConcurrentExecutions"] == 150


def _arn(name: str) -> str:
    return f"arn:aws:lambda:us-east-1:000000000000:function:{name}"

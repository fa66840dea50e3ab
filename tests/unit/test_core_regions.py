"""Which regions requests may be signed for."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from boda.core.regions import Regions
from support.rig import rig, run


def test_aws_regions_of_every_partition_are_known() -> None:
    regions = Regions()
    for name in ("us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"):
        assert name in regions
    for name in ("us-esat-1", "", "US-EAST-1", "auto"):
        assert name not in regions


def test_others_are_taken_where_they_are_allowed() -> None:
    regions = Regions(["moon-1", "moon-1"])
    assert "moon-1" in regions and "eu-west-1" in regions and "mars-1" not in regions
    assert regions.allowed == ("moon-1",)
    for bad in ("", "two words", "-a", "ünï", "a" * 65, "A"):
        with pytest.raises(ValueError):
            Regions([bad])


def test_a_refusal_says_what_was_meant_and_what_to_do() -> None:
    said = Regions().refusal("eu-cental-1")
    assert "did you mean eu-central-1" in said
    assert "--allow-region" in said
    assert "mean" not in Regions().refusal("zzz")


@pytest.mark.parametrize("auth", ["sigv4", "open"])
async def test_requests_for_other_regions_are_refused_in_the_services_words(auth: str) -> None:
    async with rig(auth=auth) as up:
        for service, operation, params, code in (
            ("lambda", "list_functions", {}, "InvalidSignatureException"),
            ("sts", "get_caller_identity", {}, "SignatureDoesNotMatch"),
            ("s3", "head_object", {"Bucket": "b", "Key": "k"}, "400"),
            ("s3", "get_object", {"Bucket": "b", "Key": "k"}, "AuthorizationHeaderMalformed"),
        ):
            client = up.client(service, region="eu-wset-1")
            with pytest.raises(ClientError) as caught:
                await run(getattr(client, operation), **params)
            error = caught.value.response["Error"]
            assert error["Code"] == code
            if code != "400":  # a HEAD has no body to say more in
                assert "did you mean eu-west-1" in error["Message"]


async def test_an_allowed_region_is_served() -> None:
    async with rig(regions=Regions(["moon-1"])) as up:
        client = up.client("sts", region="moon-1")
        assert (await run(client.get_caller_identity))["Account"]

"""A need is decided wherever it is asked, also by condition keys that have to be looked up."""

from __future__ import annotations

import pytest

from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.policy import Policy
from boda.core.principal import Principal
from boda.gateway.asking.authorization import Authorizer
from boda.gateway.asking.need import LateKeys, Need
from boda.gateway.calling.operation import Context
from boda.gateway.signing.identity import Credential, Permissions

ANN = Principal("user", "000000000000", "arn:aws:iam::000000000000:user/ann", "AIDA1", "", "KEY")
POLICY = {
    "Statement": [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {
            "Effect": "Deny",
            "Action": "s3:GetObjectTagging",
            "Resource": "*",
            "Condition": {"StringEquals": {"s3:ExistingObjectTag/secret": "yes"}},
        },
    ]
}


class Ann:
    """A directory in which one user has one policy."""

    generation = 1

    def credential(self, access_key_id: str) -> Credential | None:
        return None

    def permissions(self, principal: Principal) -> Permissions:
        return Permissions(identity=(Policy.parse(POLICY),))


@pytest.mark.parametrize(("secret", "allowed"), [("no", True), ("yes", False)])
async def test_keys_are_looked_up_in_the_middle_of_an_operation(secret: str, allowed: bool) -> None:
    authorizer = Authorizer(Ann(), ManualClock())
    ctx = Context(
        *("s3", "CopyObject", "us-east-1", ANN.account, ANN, "id"),
        lambda need: authorizer.check(ANN, need, {}),
    )
    looked_up = []

    async def read() -> dict[str, str]:
        looked_up.append(secret)
        return {"s3:ExistingObjectTag/secret": secret}

    late = LateKeys(("s3:existingobjecttag/",), read)
    need = Need("s3:GetObjectTagging", "arn:aws:s3:::b/k", late=late)
    if allowed:
        await ctx.authorize(need)
    else:
        with pytest.raises(AwsError, match="explicit deny"):
            await ctx.authorize(need)
    assert looked_up == [secret]
    await ctx.authorize(Need("s3:GetObject", "arn:aws:s3:::b/k", late=late))
    assert looked_up == [secret], "no policy asks for it there"

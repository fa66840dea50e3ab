"""Accounts beside the platform's own: made by who calls in their name, and not without bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from boda.core.errors import AwsError
from boda.core.principal import root_of
from boda.services.iam import accounts
from support.identity import platform
from support.world import ACCOUNT

OTHER = "111111111111"


async def test_each_account_has_entities_of_its_own(tmp_path: Path) -> None:
    async with platform(tmp_path) as aws:
        before = aws.identity.generation
        made = await aws.iam("CreateUser", root_of(OTHER), UserName="ann")
        assert made["User"]["Arn"] == f"arn:aws:iam::{OTHER}:user/ann"
        assert aws.identity.generation > before  # what was decided before is decided anew
        assert (await aws.iam("ListUsers"))["Users"] == []
        await aws.iam("CreateUser", UserName="ann")
        own, theirs = (f"arn:aws:iam::{number}:user/ann" for number in (ACCOUNT, OTHER))
        found = [aws.identity.unique_id(arn) for arn in (own, theirs)]
        assert None not in found and found[0] != found[1]
        assert [aws.identity.arn_of(unique_id or "") for unique_id in found] == [own, theirs]
        # To ask about an account makes none.
        assert not aws.identity.role_trusts("arn:aws:iam::222222222222:role/r", "s3.amazonaws.com")
        assert aws.identity.role("arn:aws:iam::222222222222:role/r") is None


async def test_accounts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MOST", 3)
    async with platform(tmp_path) as aws:
        for number in range(3):
            await aws.iam("ListUsers", root_of(f"{number + 1:012}"))
        with pytest.raises(AwsError) as refusal:
            await aws.iam("ListUsers", root_of("999999999999"))
        assert refusal.value.code == "LimitExceeded"
        await aws.iam("ListUsers", root_of("000000000001"))
        await aws.iam("ListUsers")

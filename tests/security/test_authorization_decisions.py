"""The authoriser: AWS's words, and decisions that are kept only as long as they hold."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from boda.core.clock import ManualClock
from boda.core.errors import AwsError
from boda.core.policy import Policy
from boda.core.principal import ANONYMOUS, Principal, root_of, service_principal
from boda.gateway.asking.authorization import Authorizer
from boda.gateway.asking.need import Need
from boda.gateway.signing.identity import Credential, Permissions
from support.dialects import DIALECTS

OWN, OTHER = "000000000000", "111111111111"
BOB = Principal(
    "user", OWN, f"arn:aws:iam::{OWN}:user/bob", "AIDABOB", f"arn:aws:iam::{OWN}:user/bob", "AKIA1"
)
FUNCTION = f"arn:aws:lambda:us-east-1:{OWN}:function:f"
INVOKE = Need("lambda:InvokeFunction", FUNCTION)
FROM_HOME = {"aws:SourceIp": "10.0.0.1"}
FROM_AWAY = {"aws:SourceIp": "192.0.2.1"}


class Directory:
    """Counts how often it is asked."""

    def __init__(self, **permissions: Any) -> None:
        self.generation = 0
        self.asked = 0
        self.found = Permissions(**permissions)

    def credential(self, access_key_id: str) -> Credential | None:
        return None

    def permissions(self, principal: Principal) -> Permissions:
        self.asked += 1
        return self.found


def policy(
    effect: str = "Allow", condition: Mapping[str, Any] | None = None, **more: Any
) -> Policy:
    statement = {"Effect": effect, "Action": "*", "Resource": "*", **more}
    if condition:
        statement["Condition"] = condition
    return Policy.parse({"Version": "2012-10-17", "Statement": statement})


def refusal(
    directory: Directory, principal: Principal, need: Need, service: str = ""
) -> tuple[str, int, str]:
    with pytest.raises(AwsError) as caught:
        authorizer = Authorizer(directory, ManualClock(), dialects=DIALECTS)
        authorizer.check(principal, need, {}, service=service)
    return caught.value.code, caught.value.status, caught.value.message


USER = (
    f"User: {BOB.arn} is not authorized to perform: lambda:InvokeFunction on resource: {FUNCTION}"
)


@pytest.mark.parametrize(
    ("permissions", "resource", "account", "ending"),
    [
        ({}, None, "", "because no identity-based policy allows the lambda:InvokeFunction action"),
        (
            {"identity": [policy("Deny")]},
            None,
            "",
            "with an explicit deny in an identity-based policy",
        ),
        (
            {"identity": [policy()]},
            policy("Deny", Principal="*"),
            "",
            "with an explicit deny in a resource-based policy",
        ),
        (
            {"identity": [policy()], "boundary": policy(Action="s3:*")},
            None,
            "",
            "because no permissions boundary allows the lambda:InvokeFunction action",
        ),
        (
            {"identity": [policy()], "boundary": policy("Deny")},
            None,
            "",
            "with an explicit deny in a permissions boundary",
        ),
        (
            {"identity": [policy()], "session": [policy(Action="s3:*")]},
            None,
            "",
            "because no session policy allows the lambda:InvokeFunction action",
        ),
        (
            {"identity": [policy()]},
            None,
            OTHER,
            "because no resource-based policy allows the lambda:InvokeFunction action",
        ),
    ],
)
def test_the_sentence_names_the_policy(
    permissions: dict[str, Any], resource: Policy | None, account: str, ending: str
) -> None:
    need = Need("lambda:InvokeFunction", FUNCTION, resource, {}, account)
    assert refusal(Directory(**permissions), BOB, need) == (
        "AccessDeniedException",
        403,
        f"{USER} {ending}",
    )


def test_the_service_that_answers_chooses_the_code() -> None:
    pass_role = Need("iam:PassRole", f"arn:aws:iam::{OWN}:role/r")
    assert refusal(Directory(), BOB, pass_role)[:2] == ("AccessDenied", 403)
    assert refusal(Directory(), BOB, pass_role, "lambda")[:2] == ("AccessDeniedException", 403)
    assert refusal(Directory(), BOB, Need("logs:GetLogEvents"))[:2] == (
        "AccessDeniedException",
        400,
    )
    assert refusal(Directory(), BOB, Need("s3:GetObject"))[:2] == ("AccessDenied", 403)


def test_assuming_a_role_is_refused_without_reasons() -> None:
    need = Need("sts:AssumeRole", f"arn:aws:iam::{OWN}:role/r")
    assert refusal(Directory(identity=[policy()]), BOB, need) == (
        "AccessDenied",
        403,
        f"User: {BOB.arn} is not authorized to perform: sts:AssumeRole on resource: "
        f"arn:aws:iam::{OWN}:role/r",
    )


def test_buckets_tell_strangers_nothing() -> None:
    need = Need("s3:GetObject", "arn:aws:s3:::b/k", None, {}, OWN)
    assert refusal(Directory(), ANONYMOUS, need)[2] == "Access Denied"
    stranger = Principal("user", OTHER, f"arn:aws:iam::{OTHER}:user/x", "AIDAX")
    assert refusal(Directory(), stranger, need)[2] == "Access Denied"
    assert refusal(Directory(), BOB, need)[2] == (
        f"User: {BOB.arn} is not authorized to perform: s3:GetObject on resource: "
        '"arn:aws:s3:::b/k" because no identity-based policy allows the s3:GetObject action'
    )


def test_a_kept_decision_asks_nobody() -> None:
    directory = Directory(identity=[policy()])
    authorizer = Authorizer(directory, ManualClock())
    for _ in range(3):
        authorizer.check(BOB, INVOKE, FROM_HOME)
    assert directory.asked == 1


def test_it_is_dropped_when_policies_change() -> None:
    directory = Directory(identity=[policy()])
    authorizer = Authorizer(directory, ManualClock())
    authorizer.check(BOB, INVOKE, {})
    directory.found = Permissions()
    directory.generation += 1
    with pytest.raises(AwsError):
        authorizer.check(BOB, INVOKE, {})
    directory.found = Permissions([policy()])
    directory.generation += 1
    authorizer.check(BOB, INVOKE, {})


def test_it_is_dropped_when_the_resources_policy_changes() -> None:
    authorizer = Authorizer(Directory(), ManualClock())
    s3 = service_principal("s3.amazonaws.com")
    granted = policy(Principal={"Service": "s3.amazonaws.com"})
    authorizer.check(s3, Need("lambda:InvokeFunction", FUNCTION, granted), {})
    with pytest.raises(AwsError):
        authorizer.check(s3, Need("lambda:InvokeFunction", FUNCTION, None), {})
    with pytest.raises(AwsError):
        revoked = policy(Principal={"Service": "sns.amazonaws.com"})
        authorizer.check(s3, Need("lambda:InvokeFunction", FUNCTION, revoked), {})


def test_it_is_kept_for_one_caller_action_resource_and_owner() -> None:
    user_only = policy(Resource=FUNCTION, Action="lambda:InvokeFunction")
    directory = Directory(identity=[user_only])
    authorizer = Authorizer(directory, ManualClock())
    authorizer.check(BOB, INVOKE, {})
    for need in (
        Need("lambda:DeleteFunction", FUNCTION),
        Need("lambda:InvokeFunction", FUNCTION + "2"),
        Need("lambda:InvokeFunction", FUNCTION, None, {}, OTHER),
    ):
        with pytest.raises(AwsError):
            authorizer.check(BOB, need, {})
    directory.found = Permissions()
    other = Principal("user", OWN, BOB.arn, BOB.unique_id, BOB.policy_source, "AKIA2")
    with pytest.raises(AwsError):
        authorizer.check(other, INVOKE, {})


BY_URL = Need(
    "lambda:InvokeFunctionUrl",
    FUNCTION,
    context={"lambda:InvokedViaFunctionUrl": "true"},
    also="lambda:InvokeFunction",
)
NOT_BY_URL = policy(
    "Deny", {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}, Action="lambda:InvokeFunction"
)
NOT_FROM_AWAY = policy(
    "Deny", {"IpAddress": {"aws:SourceIp": "192.0.2.1"}}, Action="lambda:InvokeFunction"
)


def test_both_actions_must_be_allowed() -> None:
    """And what was decided of one alone is not what was decided of both."""
    first, second = policy(Action="lambda:InvokeFunctionUrl"), policy(Action=INVOKE.action)
    directory = Directory(identity=[first])
    authorizer = Authorizer(directory, ManualClock())
    alone = Need(BY_URL.action, BY_URL.resource, context=BY_URL.context)
    assert authorizer.allows(BOB, alone, {})
    assert not authorizer.allows(BOB, BY_URL, {})
    for identity, both in (
        ([second], False),
        ([first, second], True),
        ([first, second, NOT_BY_URL], False),
    ):
        directory.found = Permissions(identity=identity)
        directory.generation += 1
        assert authorizer.allows(BOB, BY_URL, {}) is both
    assert authorizer.allows(BOB, INVOKE, {})


def test_a_second_action_that_hangs_on_the_request_is_decided_each_time() -> None:
    authorizer = Authorizer(Directory(identity=[policy(), NOT_FROM_AWAY]), ManualClock())
    assert authorizer.allows(BOB, BY_URL, FROM_HOME)
    assert not authorizer.known(BOB, BY_URL)
    assert not authorizer.allows(BOB, BY_URL, FROM_AWAY)


async def test_what_hangs_on_the_time_is_decided_each_time() -> None:
    clock = ManualClock(1_767_225_600.0)
    until = {"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:01:00Z"}}
    authorizer = Authorizer(Directory(identity=[policy(condition=until)]), clock)
    authorizer.check(BOB, INVOKE, {})
    await clock.advance(61)
    with pytest.raises(AwsError):
        authorizer.check(BOB, INVOKE, {})


def test_a_request_cannot_say_who_it_is() -> None:
    condition = {"StringEquals": {"aws:PrincipalTag/team": "red"}}
    authorizer = Authorizer(Directory(identity=[policy(condition=condition)]), ManualClock())
    for forged in ("aws:PrincipalTag/team", "AWS:principaltag/TEAM"):
        with pytest.raises(AwsError):
            authorizer.check(BOB, INVOKE, {forged: "red"})
        with pytest.raises(AwsError):
            authorizer.check(BOB, Need(INVOKE.action, FUNCTION, None, {forged: "red"}), {})


def test_the_need_knows_better_than_the_request() -> None:
    condition = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    authorizer = Authorizer(Directory(identity=[policy(condition=condition)]), ManualClock())
    need = Need("iam:PassRole", "*", None, {"iam:PassedToService": "lambda.amazonaws.com"})
    authorizer.check(BOB, need, {})
    wrong = Need("iam:PassRole", "*", None, {"iam:PassedToService": "ec2.amazonaws.com"})
    with pytest.raises(AwsError):
        authorizer.check(BOB, wrong, {"iam:PassedToService": "lambda.amazonaws.com"})


def test_many_callers_do_not_fill_the_memory() -> None:
    authorizer = Authorizer(Directory(identity=[policy()]), ManualClock())
    for number in range(40_000):
        authorizer.check(BOB, Need("s3:GetObject", f"arn:aws:s3:::b/{number}"), {})
    assert len(authorizer._kept) <= 16_384


def test_the_open_mode_allows_and_only_when_told() -> None:
    directory = Directory()
    Authorizer(directory, ManualClock(), open_mode=True).check(ANONYMOUS, INVOKE, {})
    assert not Authorizer(directory, ManualClock()).allows(ANONYMOUS, INVOKE, {})
    assert Authorizer(directory, ManualClock()).allows(root_of(), INVOKE, {})


def test_a_hostile_policy_does_not_hold_up_the_others() -> None:
    """The largest inline policy a role may have, all of it wildcards, on the longest resource."""
    hostile = "*a?" * 3300
    document = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Action": "*", "Resource": f"arn:aws:s3:::{hostile}b"}],
    }
    authorizer = Authorizer(
        Directory(identity=[Policy.parse(json.dumps(document)), policy()]), ManualClock()
    )
    before = time.perf_counter()
    authorizer.check(BOB, Need("s3:GetObject", "arn:aws:s3:::" + "a" * 10_500), {})
    assert time.perf_counter() - before < 5.0

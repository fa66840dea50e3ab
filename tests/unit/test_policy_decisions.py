"""Who may: identity, resource, boundary and session policies together."""

from __future__ import annotations

from typing import Any

import pytest

from boda.core.policy import Decision, Policy, Question, decide, principal_keys
from boda.core.principal import ANONYMOUS, Principal, root_of, service_principal

OWN, OTHER = "000000000000", "111111111111"
OBJECT = "arn:aws:s3:::b/k"
BOB = Principal(
    "user", OWN, f"arn:aws:iam::{OWN}:user/bob", "AIDABOB", f"arn:aws:iam::{OWN}:user/bob"
)
ROLE = f"arn:aws:iam::{OWN}:role/r"
SESSION = Principal("assumed-role", OWN, f"arn:aws:sts::{OWN}:assumed-role/r/s", "AROAR:s", ROLE)
ROOT = root_of(OWN)
S3 = service_principal("s3.amazonaws.com", OWN)


def _policy(
    effect: str = "Allow",
    action: Any = "s3:*",
    resource: Any = "*",
    principal: Any = None,
    condition: Any = None,
    **more: Any,
) -> Policy:
    statement = {"Effect": effect, "Action": action, "Resource": resource, **more}
    for element in [key for key, value in statement.items() if value is None]:
        del statement[element]
    if principal is not None:
        statement["Principal"] = principal
    if condition is not None:
        statement["Condition"] = condition
    return Policy.parse({"Version": "2012-10-17", "Statement": [statement]})


def _trust(principal: Any, effect: str = "Allow") -> Policy:
    return Policy.parse(
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": effect, "Action": "sts:AssumeRole", "Principal": principal}],
        },
        "trust",
    )


ALLOW, DENY = _policy(), _policy("Deny")
NOTHING = _policy(action="ec2:*")


def _ask(
    principal: Principal, action: str = "s3:GetObject", resource: str = OBJECT, **given: Any
) -> Decision:
    policy = given.pop("policy", None)
    context = {**principal_keys(principal), **given.pop("context", {})}
    return decide(Question(principal, action, resource, context), resource=policy, **given)


def _verdict(principal: Principal, **given: Any) -> tuple[bool, bool, str]:
    decision = _ask(principal, **given)
    return decision.allowed, decision.explicit, decision.blocker


YES = (True, False, "")


def _no(blocker: str, *, explicit: bool = False) -> tuple[bool, bool, str]:
    return False, explicit, blocker


@pytest.mark.parametrize("who", [BOB, SESSION])
def test_identity_policies(who: Principal) -> None:
    assert _verdict(who) == _no("identity")
    assert _verdict(who, identity=[ALLOW]) == YES
    assert _verdict(who, identity=[ALLOW, DENY]) == _no("identity", explicit=True)
    assert _verdict(who, identity=[ALLOW], boundary=NOTHING) == _no("boundary")
    assert _verdict(who, identity=[ALLOW], boundary=ALLOW) == YES
    assert _verdict(who, boundary=ALLOW) == _no("identity")
    assert _verdict(who, identity=[ALLOW], boundary=DENY) == _no("boundary", explicit=True)
    assert _verdict(who, identity=[ALLOW], session=[NOTHING]) == _no("session")
    assert _verdict(who, identity=[ALLOW], session=[NOTHING, ALLOW]) == YES
    assert _verdict(who, identity=[ALLOW], session=[DENY]) == _no("session", explicit=True)


@pytest.mark.parametrize("who", [BOB, SESSION, ROOT])
def test_a_resource_policy_denies_everybody_it_names(who: Principal) -> None:
    for principal in ("*", {"AWS": "*"}, {"AWS": OWN}, {"AWS": f"arn:aws:iam::{OWN}:root"}):
        policy = _policy("Deny", principal=principal)
        assert _verdict(who, identity=[ALLOW], policy=policy) == _no("resource", explicit=True)


def test_root_may_everything_in_its_own_account() -> None:
    assert _verdict(ROOT) == YES
    assert _verdict(ROOT, account=OTHER) == _no("resource")
    assert _verdict(ROOT, account=OTHER, policy=_policy(principal={"AWS": OWN})) == YES


def test_a_grant_to_the_account_leaves_it_to_identity_policies() -> None:
    policy = _policy(principal={"AWS": OWN})
    assert _verdict(BOB, policy=policy) == _no("identity")
    assert _verdict(BOB, policy=policy, identity=[ALLOW]) == YES


def test_a_grant_to_a_user_stands_by_itself() -> None:
    policy = _policy(principal={"AWS": BOB.arn})
    assert _verdict(BOB, policy=policy) == YES
    assert _verdict(BOB, policy=policy, boundary=NOTHING) == YES
    assert _verdict(BOB, policy=policy, identity=[DENY]) == _no("identity", explicit=True)
    assert _verdict(SESSION, policy=policy) == _no("identity")
    by_id = _policy(principal={"AWS": "AIDABOBBOBBOBBOBBOBBO"})
    again = Principal("user", OWN, BOB.arn, "AIDABOBBOBBOBBOBBOBBO", BOB.arn)
    assert _verdict(again, policy=by_id) == YES


def test_a_grant_to_a_role_is_bounded_one_to_its_session_is_not() -> None:
    role, session = _policy(principal={"AWS": ROLE}), _policy(principal={"AWS": SESSION.arn})
    assert _verdict(SESSION, policy=role) == YES
    assert _verdict(SESSION, policy=role, boundary=NOTHING) == _no("boundary")
    assert _verdict(SESSION, policy=role, session=[NOTHING]) == _no("session")
    assert _verdict(SESSION, policy=session, boundary=NOTHING, session=[NOTHING]) == YES


def test_across_accounts_both_sides_must_allow() -> None:
    policy = _policy(principal={"AWS": OWN})
    assert _verdict(BOB, account=OTHER, identity=[ALLOW]) == _no("resource")
    assert _verdict(BOB, account=OTHER, policy=policy) == _no("identity")
    assert _verdict(BOB, account=OTHER, policy=policy, identity=[ALLOW]) == YES
    by_name = _policy(principal={"AWS": BOB.arn})
    assert _verdict(BOB, account=OTHER, policy=by_name) == _no("identity")
    assert _verdict(BOB, account=OTHER, policy=by_name, identity=[ALLOW], boundary=NOTHING) == _no(
        "boundary"
    )


def test_services_and_strangers_have_only_the_resource_policy() -> None:
    for who in (S3, ANONYMOUS):
        assert _verdict(who) == _no("resource")
        assert _verdict(who, policy=_policy(principal="*")) == YES
        assert _verdict(who, policy=_policy(principal={"AWS": OWN})) == _no("resource")
    policy = _policy(principal={"Service": ["s3.amazonaws.com", "sns.amazonaws.com"]})
    assert _verdict(S3, policy=policy) == YES
    assert _verdict(ANONYMOUS, policy=policy) == _no("resource")
    assert _verdict(service_principal("events.amazonaws.com"), policy=policy) == _no("resource")


def test_not_principal_names_the_exceptions() -> None:
    deny = _policy("Deny", NotPrincipal={"AWS": [BOB.arn, OWN]})
    other = Principal(
        "user", OTHER, f"arn:aws:iam::{OTHER}:user/eve", "AIDAEVE", f"arn:aws:iam::{OTHER}:user/eve"
    )
    assert _verdict(BOB, identity=[ALLOW], policy=deny) == YES
    assert _verdict(other, identity=[ALLOW], policy=deny, account=OWN) == _no(
        "resource", explicit=True
    )


@pytest.mark.parametrize("account", [OWN, f"arn:aws:iam::{OWN}:root"])
def test_an_account_in_not_principal_exempts_its_root_user_alone(account: str) -> None:
    deny = _policy("Deny", NotPrincipal={"AWS": account})
    assert _verdict(ROOT, policy=deny) == YES
    for who in (BOB, SESSION):
        assert _verdict(who, identity=[ALLOW], policy=deny) == _no("resource", explicit=True)
    named = _policy("Deny", NotPrincipal={"AWS": [account, ROLE]})
    assert _verdict(SESSION, identity=[ALLOW], policy=named) == YES
    assert _verdict(BOB, identity=[ALLOW], policy=named) == _no("resource", explicit=True)
    # An Allow for everybody but an account is for nobody of that account.
    others = _policy(NotPrincipal={"AWS": account})
    assert _verdict(BOB, policy=others) == _no("identity")


def test_a_federated_user_is_not_the_account_that_its_id_begins_with() -> None:
    arn = f"arn:aws:sts::{OWN}:federated-user/bob"
    federated = Principal("user", OWN, arn, f"{OWN}:bob", BOB.arn)
    assert _verdict(federated, policy=_policy(principal={"AWS": OWN})) == _no("identity")


def test_actions_and_their_opposite() -> None:
    assert _ask(BOB, "S3:getobject", identity=[_policy(action="s3:Get*")]).allowed
    assert not _ask(BOB, "s3:PutObject", identity=[_policy(action=["s3:Get*", "s3:List?"])]).allowed
    everything_else = _policy(action=None, NotAction=["iam:*", "sts:*"])
    assert _ask(BOB, identity=[everything_else]).allowed
    assert not _ask(BOB, "iam:CreateUser", identity=[everything_else]).allowed


def test_resources_and_their_opposite() -> None:
    assert _ask(BOB, identity=[_policy(resource="arn:aws:s3:::b/*")]).allowed
    assert not _ask(BOB, identity=[_policy(resource="arn:aws:s3:::B/*")]).allowed
    elsewhere = _policy(resource=None, NotResource="arn:aws:s3:::b/*")
    assert not _ask(BOB, identity=[elsewhere]).allowed
    assert _ask(BOB, resource="arn:aws:s3:::c/k", identity=[elsewhere]).allowed


def test_variables_follow_the_caller() -> None:
    home = _policy(resource="arn:aws:s3:::b/${aws:username}/*")
    assert _ask(BOB, resource="arn:aws:s3:::b/bob/x", identity=[home]).allowed
    assert not _ask(BOB, resource="arn:aws:s3:::b/eve/x", identity=[home]).allowed
    assert not _ask(SESSION, resource="arn:aws:s3:::b//x", identity=[home]).allowed
    # In the language's first version it is plain text.
    old = Policy.parse(
        {
            "Version": "2008-10-17",
            "Statement": {
                "Effect": "Allow",
                "Action": "*",
                "Resource": "arn:aws:s3:::b/${aws:username}/*",
            },
        }
    )
    assert not _ask(BOB, resource="arn:aws:s3:::b/bob/x", identity=[old]).allowed


def test_a_variable_without_a_value_widens_no_allow_and_narrows_no_deny() -> None:
    spare = "arn:aws:s3:::b/${aws:PrincipalTag/team}/*"
    allow = _policy(resource=None, NotResource=spare)
    deny = _policy("Deny", resource=None, NotResource=spare)
    assert not _ask(BOB, identity=[allow]).allowed
    assert _ask(BOB, identity=[ALLOW, deny]).explicit


def test_principal_tags_are_condition_keys() -> None:
    tagged = Principal("user", OWN, BOB.arn, "AIDABOB", BOB.arn, tags=(("Team", "red"),))
    policy = _policy(condition={"StringEquals": {"aws:PrincipalTag/team": "red"}})
    assert _ask(tagged, identity=[policy]).allowed
    assert not _ask(BOB, identity=[policy]).allowed


def test_a_role_is_entered_only_by_its_trust_policy() -> None:
    def enter(who: Principal, trust: Policy, **given: Any) -> tuple[bool, bool, str]:
        decision = _ask(who, "sts:AssumeRole", ROLE, policy=trust, **given)
        return decision.allowed, decision.explicit, decision.blocker

    may = [_policy(action="sts:*")]
    by_account, by_name = _trust({"AWS": OWN}), _trust({"AWS": BOB.arn})
    assert enter(BOB, by_account) == _no("identity")
    assert enter(BOB, by_account, identity=may) == YES
    assert enter(BOB, by_name) == YES
    assert enter(BOB, _trust({"Service": "lambda.amazonaws.com"}), identity=may) == _no("resource")
    assert enter(ROOT, by_account) == YES
    assert enter(ROOT, by_name) == _no("resource")
    assert enter(ANONYMOUS, _trust({"AWS": "*"})) == _no("resource")
    lambda_ = service_principal("lambda.amazonaws.com", OWN)
    assert enter(lambda_, _trust({"Service": "lambda.amazonaws.com"})) == YES
    assert enter(lambda_, by_account) == _no("resource")
    assert enter(BOB, _trust("*", "Deny"), identity=may) == _no("resource", explicit=True)


def test_a_decision_tells_what_it_read() -> None:
    policy = _policy(
        resource="arn:aws:s3:::b/${aws:username}/*",
        condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
    )
    assert _ask(BOB, identity=[ALLOW]).reads == frozenset()
    assert _ask(BOB, identity=[policy]).reads == {"aws:username"}
    inside = _ask(
        BOB,
        resource="arn:aws:s3:::b/bob/x",
        identity=[policy],
        context={"aws:sourceip": "10.0.0.1"},
    )
    assert inside.allowed and inside.reads == {"aws:username", "aws:sourceip"}

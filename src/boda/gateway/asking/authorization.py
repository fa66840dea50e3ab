"""Decisions on permissions from the policies in memory, cached so that a repeated one costs a
look-up.

Law of this file: a cached decision depends on nothing but its key. A decision that has read a
condition key which may differ between two calls (source address, time, tags of the request …) is
not cached, unless the need itself supplies that value and so has it in the key.
(core/condition_keys.py lists those keys; all others come with the need and the caller.) All are
dropped when the directory's generation moves, and a resource's new policy is a new object and so a
new key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from boda.core.clock import Clock
from boda.core.condition_keys import PER_REQUEST
from boda.core.errors import AwsError
from boda.core.policy import (
    PRINCIPAL_KEY_PREFIXES,
    TRUST_ACTIONS,
    Decision,
    Policy,
    Question,
    decide,
    ever_allow,
    principal_keys,
    time_keys,
)
from boda.core.principal import ANONYMOUS, Principal
from boda.gateway.asking.need import Need, UndecidedNeed
from boda.gateway.dialect import JSON, Dialect
from boda.gateway.signing.identity import Directory

Keys = Mapping[str, str | Sequence[str]]

_KEPT = 16_384
_Value = str | tuple[str, ...]
_Key = tuple[Principal, str, str, str, str, Policy | None, bool, tuple[tuple[str, _Value], ...]]

_POLICY_NAMES = {
    "identity": "identity-based policy",
    "boundary": "permissions boundary",
    "session": "session policy",
    "resource": "resource-based policy",
}


class Authorizer:
    """Checks Needs.

    open_mode: allows everything; for tests, and announced at the start of the platform. dialects:
    the words of refusals, by service.
    """

    def __init__(
        self,
        directory: Directory,
        clock: Clock,
        *,
        open_mode: bool = False,
        dialects: Mapping[str, Dialect] | None = None,
    ) -> None:
        self._dialects = dialects or {}
        self._directory = directory
        self._clock = clock
        self._open = open_mode
        self._generation = directory.generation
        self._kept: dict[_Key, Decision] = {}

    def check(self, principal: Principal, need: Need, keys: Keys, *, service: str = "") -> None:
        """Check a permission.

        keys: the request's condition keys (``aws:SourceIp`` …).
        service: the service that answers and so chooses the error's code; the action's own if empty
        (``iam:PassRole`` is refused by Lambda in Lambda's words).
        Raises AwsError AccessDenied(Exception) if the principal may not; raises UndecidedNeed if
        that depends on the need's late keys.
        """
        if self._open:
            return
        self._refresh()
        key = _key(principal, need)
        decision = self._kept.get(key)
        if decision is None:
            decision = self.decide(principal, need, keys)
            if need.late is not None and any(map(need.late.has, decision.reads)):
                raise UndecidedNeed
            if _rests_on_its_key(decision, need, keys):
                if len(self._kept) >= _KEPT:
                    self._kept.clear()
                self._kept[key] = decision
        if not decision.allowed:
            raise self._refusal(principal, need, decision, service)

    def check_ever(self, principal: Principal, need: Need, *, service: str) -> None:
        """Check that a policy of the principal allows the action on some resource.

        For needs whose resource is not known yet, and has no policy. Raises AwsError
        AccessDenied(Exception).
        """
        if self._open or principal.kind not in ("user", "assumed-role"):
            return
        if need.action.lower() in TRUST_ACTIONS:
            return
        if not ever_allow(self._directory.permissions(principal).identity, need.action):
            raise self._refusal(principal, need, Decision(False, blocker="identity"), service)

    def allows(self, principal: Principal, need: Need, keys: Keys) -> bool:
        """Return whether a permission is given, for answers that list only visible rows."""
        try:
            self.check(principal, need, keys)
        except AwsError:
            return False
        return True

    def permit(self, principal: Principal) -> Permit:
        """Return a Permit, for repeated checks of the same need."""
        return Permit(self, self._directory, principal)

    def known(self, principal: Principal, need: Need) -> bool:
        """Return whether the cache has a decision that allows the need; False means nothing."""
        if self._open:
            return True
        self._refresh()
        decision = self._kept.get(_key(principal, need))
        return decision is not None and decision.allowed

    def _refresh(self) -> None:
        if self._generation != self._directory.generation:
            self._kept.clear()
            self._generation = self._directory.generation

    def decide(self, principal: Principal, need: Need, keys: Keys) -> Decision:
        """Decide without the cache."""
        context = self._context(principal, need, keys)
        decision = self._decide(principal, need, need.action, context)
        if not decision.allowed or not need.also:
            return decision
        second = self._decide(principal, need, need.also, context)
        return replace(second, reads=decision.reads | second.reads)

    def _decide(
        self,
        principal: Principal,
        need: Need,
        action: str,
        context: Mapping[str, str | Sequence[str]],
    ) -> Decision:
        permissions = self._directory.permissions(principal)
        return decide(
            Question(principal, action, need.resource, context),
            identity=permissions.identity,
            boundary=permissions.boundary,
            session=permissions.session,
            resource=need.policy,
            account=need.account,
        )

    def _context(
        self, principal: Principal, need: Need, keys: Keys
    ) -> dict[str, str | Sequence[str]]:
        context: dict[str, str | Sequence[str]] = {**time_keys(self._clock.now())}
        for source in (keys, need.context):
            for name, value in source.items():
                lowered = name.lower()
                if not lowered.startswith(PRINCIPAL_KEY_PREFIXES):
                    context[lowered] = value
        owner = need.account or principal.account
        if owner != ANONYMOUS.account:
            context["aws:resourceaccount"] = owner
            owner_key = self._dialect(need.action.partition(":")[0]).owner_key
            if owner_key:
                context[owner_key.lower()] = owner
        context.update(principal_keys(principal))
        return context

    def _dialect(self, service: str) -> Dialect:
        return self._dialects.get(service, JSON)

    def _refusal(
        self, principal: Principal, need: Need, decision: Decision, service: str
    ) -> AwsError:
        """Return AWS's sentence. Source: IAM User Guide, "Troubleshoot access denied error
        messages"."""
        dialect = self._dialect(service or need.action.partition(":")[0].lower())
        code, status = dialect.forbidden
        if dialect.hides_reasons and (
            principal.kind == "anonymous" or need.account not in ("", principal.account)
        ):
            return AwsError(code, "Access Denied", status)
        who = "anonymous" if principal.kind == "anonymous" else principal.arn
        resource = f'"{need.resource}"' if dialect.quotes_resources else need.resource
        text = f"User: {who} is not authorized to perform: {need.action} on resource: {resource}"
        if need.action.lower() not in TRUST_ACTIONS:
            policy = _POLICY_NAMES[decision.blocker]
            if decision.explicit:
                article = "an" if policy[0] in "aeiou" else "a"
                text += f" with an explicit deny in {article} {policy}"
            else:
                text += f" because no {policy} allows the {need.action} action"
        return AwsError(code, text, status)


class Permit:
    """A principal's permission for a sequence of needs, which are mostly the same.

    It holds as long as the need is the same object and the directory of the same generation, so it
    must not be kept longer than the object that makes the need.
    """

    __slots__ = ("_authorizer", "_directory", "_generation", "_need", "_principal")

    def __init__(self, authorizer: Authorizer, directory: Directory, principal: Principal) -> None:
        self._authorizer = authorizer
        self._directory = directory
        self._principal = principal
        self._need: Need | None = None
        self._generation = -1

    def holds(self, need: Need) -> bool:
        """Return whether the need is certainly allowed; if not, ``Authorizer.check`` decides and
        words the refusal."""
        generation = self._directory.generation
        if need is self._need and generation == self._generation:
            return True
        if not self._authorizer.known(self._principal, need):
            return False
        self._need, self._generation = need, generation
        return True


def _key(principal: Principal, need: Need) -> _Key:
    context: tuple[tuple[str, _Value], ...] = ()
    if need.context:
        context = tuple(
            sorted(
                (name, value if isinstance(value, str) else tuple(value))
                for name, value in need.context.items()
            )
        )
    actions = need.action, need.also
    settled = need.late is None
    return (principal, *actions, need.resource, need.account, need.policy, settled, context)


def _rests_on_its_key(decision: Decision, need: Need, keys: Keys) -> bool:
    """Return whether the decision depends on its cache key alone."""
    given = {name.lower() for name in need.context}
    varying = PER_REQUEST.union(map(str.lower, keys))
    return all(read in given or read not in varying for read in decision.reads)

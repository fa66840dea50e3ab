"""Admission of policies: every policy that is put on a resource or identity passes here.

policy = Policy.parse(text, kind)          # refusals in the service's own words
ctx.policies.admit(ctx.service, ctx.operation, policy)
stored = ctx.policies.kept(text)           # and ctx.policies.shown(stored) for readers
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from boda.core import policy_principals
from boda.core.condition_keys import Vocabulary
from boda.core.errors import not_implemented, printable
from boda.core.policy import Policy
from boda.core.policy_principals import Names


class PolicyRules:
    """vocabulary: the condition keys that are supplied here. names: the existing identities.
    Without them every policy is admitted and stored as it is."""

    __slots__ = ("_names", "_vocabulary")

    def __init__(self, vocabulary: Vocabulary | None = None, names: Names | None = None) -> None:
        self._vocabulary = vocabulary
        self._names = names

    def admit(self, service: str, operation: str, policy: Policy) -> None:
        """Raises AwsError 501 for a Deny that could never apply: on a condition key that is never
        supplied, or to a canonical user, which no caller has."""
        if any(not one.allow and one.principals and one.principals.canonical
               for one in policy.statements):  # fmt: skip
            raise not_implemented(service, operation, "a Deny to a CanonicalUser")
        key = self._vocabulary.unknown_in_deny(policy) if self._vocabulary is not None else ""
        if key:
            detail = f"a Deny on the condition key {printable(key)}"
            raise not_implemented(service, operation, detail)

    def kept(self, text: str) -> str:
        """Return the stored form of a policy, with unique ids for ARNs. Raises UnknownPrincipal."""
        if self._names is None:
            return text
        return policy_principals.swapped_text(text, policy_principals.kept(self._names))

    def kept_document(self, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do the same for a parsed document."""
        if self._names is None:
            return document
        return policy_principals.swapped(document, policy_principals.kept(self._names))

    def shown(self, text: str) -> str:
        """Return a stored policy as its readers see it, with ARNs for the ids of existing
        identities."""
        if self._names is None:
            return text
        return policy_principals.swapped_text(text, policy_principals.shown(self._names))

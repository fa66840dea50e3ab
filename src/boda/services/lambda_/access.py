"""Which permission an operation needs on which function. Pure.

Each returns what ``@operation(authorize=...)`` takes; the group it is bound to has a ``core``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.gateway.service import Authorize, Context, Need
from boda.services.lambda_.core import Core
from boda.services.lambda_.identifiers import Identifier


class Group(Protocol):
    core: Core


def need(core: Core, action: str, identifier: Identifier) -> Need:
    """The permission to do this to that, with the resource's own policy."""
    return Need(
        action,
        identifier.named_arn,
        core.hot.policy(identifier.arn, identifier.meant),
        account=identifier.account,
    )


class StandingNeed:
    """A need of one function that is asked for again and again: made anew only when the
    function's policy has become another object."""

    def __init__(self, core: Core, identifier: Identifier, make: Callable[[], Need]) -> None:
        self._hot = core.hot
        self._arn = identifier.arn
        self._qualifier = identifier.meant
        self._make = make
        self._made = make()

    def current(self) -> Need:
        if self._hot.policy(self._arn, self._qualifier) is not self._made.policy:
            self._made = self._make()
        return self._made


def on_function(action: str) -> Authorize:
    """On the function that ``FunctionName`` and ``Qualifier`` name."""

    def needs(group: Group, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        core = group.core
        identifier = core.identify(ctx, params["FunctionName"], params.get("Qualifier"))
        return (need(core, action, identifier),)

    return needs


def on_new_function(action: str) -> Authorize:
    """On a function of the caller's own account that need not exist."""

    def needs(group: Group, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        identifier = group.core.identify(ctx, params["FunctionName"])
        if identifier.account != ctx.account:
            raise AwsError("AccessDeniedException", "", 403)  # recorded: without a sentence
        return (Need(action, identifier.arn),)

    return needs


def on_resource(action: str) -> Authorize:
    """On the ARN that ``Resource`` is."""

    def needs(group: Group, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        resource = params["Resource"]
        try:
            account = Arn.parse(resource).account
        except ValueError:
            account = ""
        return (Need(action, resource, account=account),)

    return needs


def on_account(action: str) -> Authorize:
    """On the account as a whole."""

    def needs(group: Group, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        return (Need(action),)

    return needs


def on_arn(action: str, member: str = "CodeSigningConfigArn") -> Authorize:
    """On the ARN that a member is."""

    def needs(group: Group, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        arn = Arn.read(params[member])
        return (Need(action, params[member], account=arn.account if arn else ""),)

    return needs

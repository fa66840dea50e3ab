"""The permission that each operation needs, and on which function. Pure.

Each function returns a value for ``@operation(authorize=...)``; the group it is bound to has a
``core``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from boda.core.arn import Arn
from boda.core.errors import AwsError
from boda.gateway.asking import tag_keys
from boda.gateway.asking.need import LateKeys, Need
from boda.gateway.asking.tag_keys import Keys
from boda.gateway.calling.operation import Authorize, Context
from boda.services.lambda_ import condition_keys
from boda.services.lambda_.core import LambdaCore
from boda.services.lambda_.identifiers import Identifier


class CoreUser(Protocol):
    core: LambdaCore


More = Callable[[Any, Identifier, Mapping[str, Any]], Keys]
"""Given a group, the function and the call's parameters, returns the condition keys that they
make."""

_OF_PARAMETERS = ("lambda:", "aws:requesttag/", "aws:tagkeys")
_NO_KEYS: Keys = {}


def of_parameters(make: Callable[[], Keys]) -> LateKeys:
    """Return the condition keys that a call's parameters make, some of which are in the body."""
    return LateKeys.of(_OF_PARAMETERS, make)


def need(
    core: LambdaCore,
    action: str,
    identifier: Identifier,
    keys: Keys = _NO_KEYS,
    late: LateKeys | None = None,
) -> Need:
    """Return the need for an action on a function, with the resource's own policy and tags.

    keys, late: further condition keys.
    """
    tags = tags_of(core, identifier)
    return Need(
        action,
        identifier.named_arn,
        core.hot.policy(identifier.arn, identifier.meant),
        {**tag_keys.of_resource(tags), **keys} if tags else keys,
        identifier.account,
        late=late,
    )


def tags_of(core: LambdaCore, identifier: Identifier) -> Mapping[str, str]:
    """Return a function's tags: the same object as long as they are unchanged."""
    function = core.find(identifier.key)
    return _NO_TAGS if function is None else function.tags


_NO_TAGS: Mapping[str, str] = {}


def tags_of_request(params: Mapping[str, Any]) -> Keys:
    return tag_keys.of_request(params.get("Tags") or {}, params.get("TagKeys") or ())


class StandingNeed:
    """A need of one function that is checked repeatedly: made again only when the function's policy
    or tags are another object."""

    __slots__ = ("_function", "_made", "_make", "_policy", "_tags")

    def __init__(self, core: LambdaCore, identifier: Identifier, make: Callable[[], Need]) -> None:
        self._function = core.finder(identifier.key)
        self._policy = core.hot.policy_finder(identifier.arn, identifier.meant)
        self._make = make
        self._made = make()
        self._tags = tags_of(core, identifier)

    def current(self) -> Need:
        function = self._function()
        tags = _NO_TAGS if function is None else function.tags
        if self._policy() is not self._made.policy or tags is not self._tags:
            self._made, self._tags = self._make(), tags
        return self._made


def on_function(action: str, more: More | None = None) -> Authorize:
    """Authorise an action on the function that ``FunctionName`` and ``Qualifier`` name."""

    def needs(group: CoreUser, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        core = group.core
        identifier = core.identify(ctx, params["FunctionName"], params.get("Qualifier"))
        late = of_parameters(partial(more, group, identifier, params)) if more else None
        return (need(core, action, identifier, late=late),)

    return needs


def on_new_function(action: str) -> Authorize:
    """Authorise an action on a function of the caller's own account that need not exist."""

    def needs(group: CoreUser, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        identifier = group.core.identify(ctx, params["FunctionName"])
        if identifier.account != ctx.account:
            raise AwsError("AccessDeniedException", "", 403)  # recorded: without a sentence

        def keys() -> Keys:
            return {
                **condition_keys.of_settings(identifier, params),
                **tags_of_request(params),
            }

        return (need(group.core, action, identifier, late=of_parameters(keys)),)

    return needs


def on_resource(action: str) -> Authorize:
    """Authorise an action on the ARN of ``Resource``."""

    def needs(group: CoreUser, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        resource = params["Resource"]
        try:
            account = Arn.parse(resource).account
        except ValueError:
            account = ""
        keys = tag_keys.of_resource(group.core.resource_tags(resource))
        late = of_parameters(partial(tags_of_request, params))
        return (Need(action, resource, context=keys, account=account, late=late),)

    return needs


def on_account(action: str) -> Authorize:
    """Authorise an action on the account as a whole."""

    def needs(group: CoreUser, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        return (Need(action, late=of_parameters(partial(tags_of_request, params))),)

    return needs


def on_arn(action: str, member: str = "CodeSigningConfigArn") -> Authorize:
    """Authorise an action on the ARN of a member."""

    def needs(group: CoreUser, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
        named = params[member]
        arn = Arn.read(named)
        keys = tag_keys.of_resource(group.core.resource_tags(named))
        return (Need(action, named, context=keys, account=arn.account if arn else ""),)

    return needs

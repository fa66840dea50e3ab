"""Operations as services write them: marked, called with a context, answered.

A parameter of the model reaches the method under its botocore snake-case name (``FunctionName`` →
``function_name``; ``botocore.xform_name``), already validated against the model and with the
model's types (timestamps are aware datetimes, blobs are bytes, a streaming blob is a
``StreamingBody``). A parameter that the caller sent and the method does not name answers "not
implemented": nothing is accepted and then ignored.

The method returns the output's members by their model names as a dict, ``None`` for an empty
answer, a listing if it is paged (paging.py), or an ``Answer`` if status or headers differ from the
model's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from boda.core.principal import Principal
from boda.gateway.asking.need import Need, authorise
from boda.gateway.asking.policies import PolicyRules
from boda.gateway.calling.paging import Listing, Paged


@dataclass(slots=True)
class Answer:
    """An operation's answer with more than the output's members.

    output: members by model name. status: overrides the model's. headers: added as they are.
    listing: of a paged operation; the page of the output is cut from it.
    """

    output: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    listing: Listing | None = None


@dataclass(slots=True)
class Context:
    """The facts about a call besides its parameters.

    check: decides a Need whose condition keys are all at hand; for ``authorize``.
    headers: the request's HTTP headers, lower-case names; empty for calls in process.
    endpoint: scheme, host and port that the caller used for boda, for URLs in answers.
    names_below: whether names below the endpoint's host lead to boda, too.
    environment_id: the execution environment the call came from, or "".
    policies: admits policies and converts them to their stored form.
    """

    service: str
    operation: str
    region: str
    account: str
    principal: Principal
    request_id: str
    check: Callable[[Need], None]
    headers: Mapping[str, str] = field(default_factory=dict)
    source_ip: str = "127.0.0.1"
    endpoint: str = ""
    environment_id: str = ""
    policies: PolicyRules = PolicyRules()  # noqa: RUF009 (stateless)
    names_below: bool = False

    async def authorize(self, need: Need) -> None:
        """Check a need, also in the middle of an operation (``iam:PassRole`` …).

        Raises AwsError AccessDenied(Exception).
        """
        await authorise(self.check, need)


Handler = Callable[..., Awaitable[Any]]


Authorize = Callable[[Any, Context, Mapping[str, Any]], Iterable[Need]]


F = TypeVar("F", bound=Handler)


def operation(
    name: str, *, authorize: Authorize | None = None, paged: Paged | None = None
) -> Callable[[F], F]:
    """Mark a coroutine method as the AWS operation ``name``.

    authorize: called as ``authorize(self, ctx, params)`` with params by model names; yields the
    Needs of the call. Without it the call needs ``<iam prefix>:<name>`` on ``*``. An operation
    without permissions returns an empty tuple.
    paged: the method returns a listing, and takes neither a token nor a number of rows.
    """

    def mark(method: F) -> F:
        method.__boda_operation__ = (name, authorize, paged)  # type: ignore[attr-defined]
        return method

    return mark

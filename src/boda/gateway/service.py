"""What a service looks like to the gateway: a name and its operations.

A service is built from groups: plain objects whose coroutine methods carry ``@operation``::

    class Aliases:
        def __init__(self, core: LambdaCore) -> None: ...

        @operation("ListAliases", authorize=on_function("lambda:ListAliases"))
        async def list_aliases(self, ctx, *, function_name, marker=None, max_items=50): ...

    Service("lambda", [Functions(core), Aliases(core), ...])

A parameter of the model reaches the method under its botocore snake-case name
(``FunctionName`` → ``function_name``; ``botocore.xform_name``), already validated against the
model and with the model's types (timestamps are aware datetimes, blobs are bytes, a streaming
blob is a ``Body``). A parameter that the caller sent and the method does not name answers
"not implemented": nothing is accepted and then ignored.

The method returns the output's members by their model names as a dict, ``None`` for an empty
answer, or an ``Answer`` when status or headers differ from the model's.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import botocore

from boda.core.principal import Principal
from boda.gateway.policies import PolicyRules

if TYPE_CHECKING:
    from boda.core.policy import Policy
    from boda.gateway.authentication import Claim
    from boda.gateway.wire import WireRequest, WireResponse


class Body(Protocol):
    """A request body that is read as it arrives, never held in memory whole.

    Iterating yields chunks and raises AwsError when a checksum, a signature or the length does
    not hold; a consumer must therefore commit only after the iteration has ended.
    """

    length: int | None
    """Decoded length in bytes if the client told it."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def read(self, limit: int | None = None) -> bytes:
        """The whole rest; AwsError ``RequestTooLarge`` past ``limit`` bytes."""
        ...

    def checksums(self) -> Mapping[str, str]:
        """After the end: checksums sent in trailers, by lower-case header name."""
        ...


class BrokenOff(Exception):
    """A stream ends before it is whole; its client finds the connection closed."""


@dataclass(slots=True)
class Stream:
    """A response body that is sent as it is made.

    chunks: yields bytes, or raises BrokenOff; closed (aclose) when the client goes away.
    length: total bytes when known, for Content-Length; chunked transfer otherwise.
    """

    chunks: AsyncIterator[bytes]
    length: int | None = None


@dataclass(slots=True)
class Answer:
    """An operation's answer when the output's members alone do not say it.

    output: members by model name. status: overrides the model's. headers: added as they are.
    """

    output: Mapping[str, Any] = field(default_factory=dict)
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


ConditionKeys = Mapping[str, str | Sequence[str]]


@dataclass(slots=True, eq=False)
class LateKeys:
    """prefixes: how the names of these condition keys begin, lower-case. read: gives all of them;
    it may raise NotInHead as long as the body has not been read."""

    prefixes: tuple[str, ...]
    read: Callable[[], Awaitable[ConditionKeys]]

    @classmethod
    def of(cls, prefixes: tuple[str, ...], make: Callable[[], ConditionKeys]) -> LateKeys:
        """make: the same as ``read`` for what is at hand."""

        async def read() -> ConditionKeys:
            return make()

        return cls(prefixes, read)

    def has(self, key: str) -> bool:
        return key.startswith(self.prefixes)


class Undecided(Exception):
    """The decision about a need depends on one of its late keys. See ``authorise``."""


@dataclass(frozen=True, slots=True)
class Need:
    """One permission that a call needs, checked by the gateway before the operation runs.

    action: ``lambda:InvokeFunction``. resource: an ARN or ``*``.
    policy: the resource's own policy, if it has one.
    context: condition keys beyond the global ones (``aws:SourceIp``, ``aws:PrincipalArn`` …).
    account: the account that owns the resource; the caller's when empty.
    also: a second action on the same resource that must be allowed as well.
    late: condition keys that take a read of rows, or the request's body; looked up if a policy
        asks for one of them.
    """

    action: str
    resource: str = "*"
    policy: Policy | None = None
    context: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    account: str = ""
    also: str = ""
    late: LateKeys | None = None


async def authorise(check: Callable[[Need], None], need: Need) -> None:
    """Check a need that may have late keys. Raises AwsError AccessDenied(Exception)."""
    try:
        check(need)
    except Undecided:
        assert need.late is not None
        context = {**need.context, **await need.late.read()}
        check(replace(need, context=context, late=None))


@dataclass(slots=True)
class Context:
    """What an operation knows about the call besides its parameters.

    authorize: checks a further Need in the middle of an operation (``iam:PassRole`` …);
        raises AwsError AccessDenied(Exception).
    headers: the request's HTTP headers, lower-case names; empty for calls in process.
    endpoint: scheme, host and port under which the caller reached boda, for URLs in answers.
    names_below: whether names below the endpoint's host lead to boda, too.
    environment_id: the execution environment the call came from, or "".
    policies: what policies are kept as, and whether they may be.
    """

    service: str
    operation: str
    region: str
    account: str
    principal: Principal
    request_id: str
    authorize: Callable[[Need], None]
    headers: Mapping[str, str] = field(default_factory=dict)
    source_ip: str = "127.0.0.1"
    endpoint: str = ""
    environment_id: str = ""
    policies: PolicyRules = PolicyRules()  # noqa: RUF009 (stateless)
    names_below: bool = False


VARIES = "boda-what-varies"
"""Stands for a header's value that each answer of a form has its own of."""
REQUEST_ID = "boda-request-id"
"""Stands for the request's id."""


class Form:
    """The head of answers that are alike but for request id, one header's value and payload.

    status: the status line. fields: the headers' lines, to be filled (``%``) with the request
    id, what varies, and the payload's length.
    """

    __slots__ = ("fields", "status")

    def __init__(self, status: bytes, fields: bytes) -> None:
        self.status = status
        self.fields = fields


class Reply(Protocol):
    """Takes what comes of a request on its short way: one of the last three, once, at any time.

    None of them raises, whatever became of the client.
    """

    def form(self, answer: Answer | WireResponse) -> Form:
        """The form of such answers of the operation, or of the site with ``REQUEST_ID`` in them;
        their payload is left out, ``VARIES`` may stand for the whole value of a header behind the
        request id. To be kept and used again. ValueError where answers have no form: without a
        body, or the connection's last."""

    def answer(self, form: Form, varying: str, payload: bytes) -> None:
        """varying: ASCII, printable; empty where the form has nothing that varies."""

    def respond(self, response: WireResponse) -> None:
        """An answer like no other. Its body is bytes."""

    def fail(self, error: BaseException) -> None:
        """AwsError as its caller reads it; anything else is the platform's fault."""


class Target(Protocol):
    """Where a short way leads: what a request means that is like one that was seen before.

    Law: everything that may change between two requests (versions, settings, policies) is looked
    at again each time, here or in ``need``.
    """

    def need(self) -> Need | None:
        """The permission it takes; the same object as long as nothing about it has changed. None
        where the target itself sees to it."""

    def begin(self, request_id: str, headers: Mapping[str, str], body: bytes, reply: Reply) -> bool:
        """Begin, without waiting for anything; the reply may come before this returns.

        False, with nothing begun, for whatever is to be answered in the general way: what is out
        of the ordinary, and what is to be refused.
        """


Short = Callable[..., Target | None]
Handler = Callable[..., Awaitable[Any]]
Authorize = Callable[[Any, Context, Mapping[str, Any]], Iterable[Need]]
F = TypeVar("F", bound=Handler)
S = TypeVar("S", bound=Short)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a service, bound to the object that carries it out.

    accepts: the snake-case parameter names the method takes.
    needs: given context and parameters (model names), the permissions the call needs.
    short: given account, region and the parameters but for the payload, where requests like
        this one lead on the short way; None where they are for the general way.
    """

    name: str
    run: Handler
    accepts: frozenset[str]
    needs: Callable[[Context, Mapping[str, Any]], Iterable[Need]] | None
    short: Short | None = None


def operation(name: str, *, authorize: Authorize | None = None) -> Callable[[F], F]:
    """Mark a coroutine method as the AWS operation ``name``.

    authorize: called as ``authorize(self, ctx, params)`` with params by model names; yields the
        Needs of the call. Without it the call needs ``<iam prefix>:<name>`` on ``*``.
        An operation that anybody may call returns an empty tuple.
    """

    def mark(method: F) -> F:
        method.__boda_operation__ = (name, authorize)  # type: ignore[attr-defined]
        return method

    return mark


def short_way(name: str) -> Callable[[S], S]:
    """Mark a method as the short way of the operation ``name`` of the same group.

    Called as ``method(self, account, region, **parameters)``, the payload left out; gives the
    Target. It must lead to the very answers that the operation itself gives.
    """

    def mark(method: S) -> S:
        method.__boda_short__ = name  # type: ignore[attr-defined]
        return method

    return mark


Preflight = Callable[["WireRequest", Mapping[str, str]], Awaitable["WireResponse | None"]]
Admits = Callable[["WireRequest", Mapping[str, str]], bool]
Decorate = Callable[["WireRequest", Mapping[str, str], "WireResponse"], Awaitable[None]]
OfRequest = Callable[["WireRequest", "Claim | None", float], Mapping[str, str]]


class Service:
    """A named set of operations.

    name: botocore's service name (``lambda``, ``s3``, ``logs``, ``iam``, ``sts``).
    preflight: answers an unsigned ``OPTIONS`` request that is routed to this service; given the
        request and the path's labels (``{"Bucket": …, "Key": …}``). May raise AwsError; None
        means the service has nothing to say.
    decorate: sees every ordinary answer, errors included, before it is sent, with the same
        labels, and may add headers to it (CORS). Must not raise.
    admits: whether the service lets a page of the request's ``Origin`` send the request, given
        the same.
    condition_keys: the names of the service's own condition keys, with those that are rightly
        never present here; one that ends in a slash stands for all that begin so.
    request_keys: given a request, its claim and the time, the condition keys that it gives
        whatever it needs. Their names are among ``core.condition_keys.PER_REQUEST``.
    """

    def __init__(
        self,
        name: str,
        groups: Iterable[object],
        *,
        preflight: Preflight | None = None,
        decorate: Decorate | None = None,
        admits: Admits | None = None,
        condition_keys: Iterable[str] = (),
        request_keys: OfRequest | None = None,
    ) -> None:
        self.name = name
        self.admits = admits
        self.condition_keys = frozenset(condition_keys)
        self.request_keys = request_keys
        self.preflight = preflight
        self.decorate = decorate
        self.operations: dict[str, Operation] = {}
        for group in groups:
            for found in _operations_of(group):
                if found.name in self.operations:
                    raise ValueError(f"{name}:{found.name} is defined twice")
                self.operations[found.name] = found


def snake(member: str) -> str:
    """``FunctionName`` → ``function_name``, as botocore spells it."""
    name: str = botocore.xform_name(member)
    return name


def _operations_of(group: object) -> Iterable[Operation]:
    shorts: dict[str, Short] = {}
    found: list[tuple[str, Authorize | None, Handler]] = []
    for attribute in dir(type(group)):
        function = getattr(type(group), attribute, None)
        marked = getattr(function, "__boda_operation__", None)
        if marked is not None:
            found.append((*marked, getattr(group, attribute)))
        short = getattr(function, "__boda_short__", None)
        if short is not None:
            shorts[short] = getattr(group, attribute)
    for name, authorize, method in found:
        parameters = list(inspect.signature(method).parameters)[1:]
        needs = _bind(authorize, group) if authorize is not None else None
        yield Operation(name, method, frozenset(parameters), needs, shorts.get(name))


def _bind(
    authorize: Authorize, group: object
) -> Callable[[Context, Mapping[str, Any]], Iterable[Need]]:
    return lambda ctx, params: authorize(group, ctx, params)

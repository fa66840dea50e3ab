"""A service as the gateway sees it: a name and its operations.

A service is built from groups: plain objects whose coroutine methods carry ``@operation``::

    class Aliases:
        def __init__(self, core: LambdaCore) -> None: ...

        @operation("DeleteAlias", authorize=on_function("lambda:DeleteAlias"))
        async def delete_alias(self, ctx, *, function_name, name): ...

    Service("lambda", [Functions(core), Aliases(core), ...])
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import botocore

from boda.gateway.asking.need import Need
from boda.gateway.calling.fast_handler import OfferHandler
from boda.gateway.calling.operation import Authorize, Context, Handler
from boda.gateway.calling.paging import Paged, Paging
from boda.gateway.http.wire import WireRequest, WireResponse
from boda.gateway.signing.claim import Claim


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a service, bound to the group that implements it.

    accepts: the snake-case parameter names the method takes.
    needs: given context and parameters (model names), the permissions the call needs.
    fast_path: given account, region and the parameters but for the payload, returns the handler of
    requests like this one; None if they are for the general way.
    paged: how its listing is cut into pages, None if it returns none.
    """

    name: str
    run: Handler
    accepts: frozenset[str]
    needs: Callable[[Context, Mapping[str, Any]], Iterable[Need]] | None
    fast_path: OfferHandler | None = None
    paged: Paged | None = None


Preflight = Callable[[WireRequest, Mapping[str, str]], Awaitable[WireResponse | None]]
Admits = Callable[[WireRequest, Mapping[str, str]], bool]
Decorate = Callable[[WireRequest, Mapping[str, str], WireResponse], Awaitable[None]]
RegionOf = Callable[[Mapping[str, str]], str]
OfRequest = Callable[[WireRequest, Claim | None, float], Mapping[str, str]]


class Service:
    """A named set of operations.

    name: botocore's service name (``lambda``, ``s3``, ``logs``, ``iam``, ``sts``).
    preflight: answers an unsigned ``OPTIONS`` request that is routed to this service; called with
    the request and the path's labels (``{"Bucket": …, "Key": …}``). May raise AwsError; None leaves
    the answer to the gateway.
    decorate: called with every ordinary answer, errors included, before it is sent, and the same
    labels; may add headers (CORS). Must not raise.
    admits: whether the service allows a page of the request's ``Origin`` to send the request;
    called with the same.
    region_of: the region of a request whose signature names none; called with the same; "" if the
    service has none for it either.
    condition_keys: the names of the service's own condition keys, including those that are rightly
    never present here; a name that ends in a slash is a prefix.
    request_keys: given a request, its claim and the time, returns the condition keys that it
    supplies for every need. Their names are among ``core.condition_keys.PER_REQUEST``.
    paging: how its listings are cut; required if an operation is paged.
    """

    def __init__(
        self,
        name: str,
        groups: Iterable[object],
        *,
        preflight: Preflight | None = None,
        decorate: Decorate | None = None,
        admits: Admits | None = None,
        region_of: RegionOf | None = None,
        condition_keys: Iterable[str] = (),
        request_keys: OfRequest | None = None,
        paging: Paging | None = None,
    ) -> None:
        self.name = name
        self.paging = paging
        self.admits = admits
        self.region_of = region_of
        self.condition_keys = frozenset(condition_keys)
        self.request_keys = request_keys
        self.preflight = preflight
        self.decorate = decorate
        self.operations: dict[str, Operation] = {}
        for group in groups:
            for found in _operations_of(group):
                if found.name in self.operations:
                    raise ValueError(f"{name}:{found.name} is defined twice")
                if found.paged is not None and paging is None:
                    raise ValueError(f"{name}:{found.name} is paged, and {name} says not how")
                self.operations[found.name] = found


def snake(member: str) -> str:
    """Convert ``FunctionName`` to ``function_name``, as botocore does."""
    name: str = botocore.xform_name(member)
    return name


def _operations_of(group: object) -> Iterable[Operation]:
    fast_paths: dict[str, OfferHandler] = {}
    found: list[tuple[str, Authorize | None, Paged | None, Handler]] = []
    for attribute in dir(type(group)):
        function = getattr(type(group), attribute, None)
        marked = getattr(function, "__boda_operation__", None)
        if marked is not None:
            found.append((*marked, getattr(group, attribute)))
        fast = getattr(function, "__boda_fast_path__", None)
        if fast is not None:
            fast_paths[fast] = getattr(group, attribute)
    for name, authorize, paged, method in found:
        parameters = list(inspect.signature(method).parameters)[1:]
        needs = _bind(authorize, group) if authorize is not None else None
        yield Operation(name, method, frozenset(parameters), needs, fast_paths.get(name), paged)


def _bind(
    authorize: Authorize, group: object
) -> Callable[[Context, Mapping[str, Any]], Iterable[Need]]:
    return lambda ctx, params: authorize(group, ctx, params)

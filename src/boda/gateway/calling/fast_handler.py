"""The fast path of an operation or a site: handlers of requests that resemble an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Answer
from boda.gateway.http.wire import WireResponse

VARIES = "boda-what-varies"
"""Placeholder for the header value that differs in each answer of a form."""


REQUEST_ID = "boda-request-id"
"""Placeholder for the request's id."""


class AnswerForm:
    """The common head of answers that differ in request id, one header's value and payload.

    status: the status line. fields: the headers' lines, to be filled (``%``) with the request id,
    the varying value, and the payload's length.
    """

    __slots__ = ("fields", "status")

    def __init__(self, status: bytes, fields: bytes) -> None:
        self.status = status
        self.fields = fields


class Reply(Protocol):
    """Takes the answer to a request: ``answer``, ``respond`` or ``fail``, exactly once, at any
    time.

    None of them raises, even if the client has left.
    """

    def form(self, answer: Answer | WireResponse) -> AnswerForm:
        """Return the form of such answers, to be kept and used again.

        answer: of the operation, or of the site with ``REQUEST_ID`` in it; the payload is ignored,
        and ``VARIES`` may be the whole value of a header behind the request id. Raises ValueError
        if answers have no form: without a body, or the connection's last.
        """

    def answer(self, form: AnswerForm, varying: str, payload: bytes) -> None:
        """Answer by a form. varying: printable ASCII; empty if the form has no varying value."""

    def respond(self, response: WireResponse) -> None:
        """Answer without a form. The response's body is bytes."""

    def fail(self, error: BaseException) -> None:
        """Answer with an error: an AwsError as its caller reads it, any other as the platform's
        fault."""


class FastHandler(Protocol):
    """Handles requests that resemble one that was answered before.

    Law: everything that may change between two requests (versions, settings, policies) is checked
    again each time, here or in ``need``.
    """

    def need(self) -> Need | None:
        """Return the permission to check; the same object as long as it is unchanged.

        None if the handler checks permissions itself.
        """

    def handle(
        self, request_id: str, headers: Mapping[str, str], body: bytes, reply: Reply
    ) -> bool:
        """Begin, without waiting for anything; the reply may be called before this returns.

        Return False, without side effects, for requests that must go the general way: unusual ones,
        and those that are to be refused.
        """


OfferHandler = Callable[..., FastHandler | None]


S = TypeVar("S", bound=OfferHandler)


def fast_path(name: str) -> Callable[[S], S]:
    """Mark a method as the fast path of the operation ``name`` of the same group.

    Called as ``method(self, account, region, **parameters)``, without the payload; returns a
    FastHandler. Its answers must equal those of the operation.
    """

    def mark(method: S) -> S:
        method.__boda_fast_path__ = name  # type: ignore[attr-defined]
        return method

    return mark

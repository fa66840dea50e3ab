"""The fast path of an operation or a site: where requests like one that was seen before lead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Answer
from boda.gateway.http.wire import WireResponse

VARIES = "boda-what-varies"
"""Stands for a header's value that each answer of a form has its own of."""


REQUEST_ID = "boda-request-id"
"""Stands for the request's id."""


class AnswerForm:
    """The head of answers that are alike but for request id, one header's value and payload.

    status: the status line. fields: the headers' lines, to be filled (``%``) with the request
    id, what varies, and the payload's length.
    """

    __slots__ = ("fields", "status")

    def __init__(self, status: bytes, fields: bytes) -> None:
        self.status = status
        self.fields = fields


class Reply(Protocol):
    """Takes what comes of a request on its fast path: one of the last three, once, at any time.

    None of them raises, whatever became of the client.
    """

    def form(self, answer: Answer | WireResponse) -> AnswerForm:
        """The form of such answers of the operation, or of the site with ``REQUEST_ID`` in them;
        their payload is left out, ``VARIES`` may stand for the whole value of a header behind the
        request id. To be kept and used again. ValueError where answers have no form: without a
        body, or the connection's last."""

    def answer(self, form: AnswerForm, varying: str, payload: bytes) -> None:
        """varying: ASCII, printable; empty where the form has nothing that varies."""

    def respond(self, response: WireResponse) -> None:
        """An answer like no other. Its body is bytes."""

    def fail(self, error: BaseException) -> None:
        """AwsError as its caller reads it; anything else is the platform's fault."""


class FastHandler(Protocol):
    """Handles requests that are like one that was seen before.

    Law: everything that may change between two requests (versions, settings, policies) is looked
    at again each time, here or in ``need``.
    """

    def need(self) -> Need | None:
        """The permission it takes; the same object as long as nothing about it has changed. None
        where the handler itself sees to it."""

    def handle(
        self, request_id: str, headers: Mapping[str, str], body: bytes, reply: Reply
    ) -> bool:
        """Begin, without waiting for anything; the reply may come before this returns.

        False, with nothing begun, for whatever is to be answered in the general way: what is out
        of the ordinary, and what is to be refused.
        """


OfferHandler = Callable[..., FastHandler | None]


S = TypeVar("S", bound=OfferHandler)


def fast_path(name: str) -> Callable[[S], S]:
    """Mark a method as the fast path of the operation ``name`` of the same group.

    Called as ``method(self, account, region, **parameters)``, the payload left out; gives the
    FastHandler. It must lead to the very answers that the operation itself gives.
    """

    def mark(method: S) -> S:
        method.__boda_fast_path__ = name  # type: ignore[attr-defined]
        return method

    return mark

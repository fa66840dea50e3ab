"""One line in the platform's log for each request that was refused or failed.

Law of this file: any text that a caller sent may be a secret, and messages quote it. A line has the
purpose of the request and an error's code, and of its message only the part before the first
quotation. Names (functions, buckets, keys, roles) are logged, query strings never are.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from boda.core.errors import AwsError, printable
from boda.core.log import FACTS
from boda.core.principal import ANONYMOUS
from boda.core.rate import TokenBucket
from boda.gateway.calling.exchange import Exchange
from boda.gateway.http.wire import WireRequest, WireResponse

log = logging.getLogger("boda.requests")

_PER_S = 20.0
_BURST = 100.0
_MESSAGE_LETTERS = 200
_QUOTED = re.compile(r"""['"`{\[<]""")
# Validation's sentence about the member follows the value.
_MEMBER = re.compile(r"' at '([A-Za-z0-9.]{1,100})' failed to satisfy constraint")


class RefusalLog:
    """Writes the lines: refusals (4xx, and operations that boda lacks) as information, failures as
    warnings.

    At most so many lines are written at once and per second: bad requests must not fill the disk.
    Omitted lines are counted in the next one. monotonic: seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._rate = TokenBucket(_PER_S, _BURST)
        self._left_out = 0

    def note(self, x: Exchange, error: AwsError) -> None:
        """Called once for each request that is answered by an error."""
        if self._wanted(error.status):
            self._write(_facts(x, error))

    def note_site(self, request: WireRequest, response: WireResponse) -> None:
        """Called with every answer of a site, such as a function URL. Notes those that the platform
        made instead of the function: they name their error in a header."""
        if response.status < 400:
            return
        named = [value for name, value in response.headers if name.lower() == "x-amzn-errortype"]
        if named and self._wanted(response.status):
            self._write(
                {
                    "status": response.status,
                    "operation": printable(f"{request.method} {request.host}{request.path}"),
                    "code": printable(named[0]),
                    "source_ip": request.source_ip,
                }
            )

    def _wanted(self, status: int) -> bool:
        """Return whether the line is written; count it if not."""
        if not log.isEnabledFor(logging.WARNING if _failed(status) else logging.INFO):
            return False
        if self._rate.take(self._monotonic()):
            return True
        self._left_out += 1
        return False

    def _write(self, facts: dict[str, str | int]) -> None:
        if self._left_out:
            facts["left_out"] = self._left_out
            self._left_out = 0
        failed = _failed(int(facts["status"]))
        level = logging.WARNING if failed else logging.INFO
        log.log(level, "%s", _sentence(facts, failed), extra={FACTS: facts})


def _failed(status: int) -> bool:
    """Return whether the request failed, rather than being refused, as also by a missing
    operation."""
    return status >= 500 and status != 501


def _facts(x: Exchange, error: AwsError) -> dict[str, str | int]:
    request = x.request
    facts: dict[str, str | int] = {
        "status": error.status,
        "operation": (
            f"{x.offered.service}:{x.offered.name}"
            if x.offered is not None
            else printable(f"{request.method} {request.path}")
        ),
        "code": error.code,
        "reason": told(error.message),
        "region": printable(x.region),
        "principal": "anonymous" if x.principal is ANONYMOUS else x.principal.arn,
        "source_ip": request.source_ip,
        "request_id": x.request_id,
    }
    if request.environment_id:
        facts["environment"] = request.environment_id
    return facts


def told(message: str) -> str:
    """Return the part of an error's message that may be logged."""
    head = _QUOTED.split(message, maxsplit=1)[0]
    if len(head) < len(message):
        member = _MEMBER.search(message)
        head = f"{head.rstrip()} …{f' at {member[1]}' if member else ''}"
    head = "".join(letter for letter in head if letter.isprintable())
    return head if len(head) <= _MESSAGE_LETTERS else head[:_MESSAGE_LETTERS] + "…"


def _sentence(facts: dict[str, str | int], failed: bool) -> str:
    more = (
        f"; {facts['left_out']} more lines like this were left out" if "left_out" in facts else ""
    )
    why = f": {facts['reason']}" if "reason" in facts else ""
    who = ", ".join(
        str(facts[name]) for name in ("principal", "source_ip", "region") if name in facts
    )
    request = f", request {facts['request_id']}" if "request_id" in facts else ""
    return (
        f"{facts['operation']} {'failed' if failed else 'refused'}: {facts['status']} "
        f"{facts['code']}{why} ({who}{request}){more}"
    )

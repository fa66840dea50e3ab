"""The gateway's side of paging: cuts listings by botocore's paginators, and seals tokens.

A sealed token is valid for the call that it was made for (service, operation, account, region and
parameters) and for a limited time, and cannot be forged.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.model import OperationModel

from boda.core.clock import Clock
from boda.gateway.calling.operation import Answer, Context
from boda.gateway.calling.paging import Key, Paged, Paging

_FORM = b"\x01"
_MAC_BYTES = 16
_HEAD_BYTES = len(_FORM) + 4 + _MAC_BYTES
_LONGEST_TOKEN = 8192


class Seal:
    """Makes tokens that cannot be forged. secret: the key is derived from it."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._key = hashlib.blake2b(secret, person=b"tokens of pages").digest()
        self._clock = clock

    def close(self, call: bytes, key: Key) -> str:
        """Return the token for the rows behind a key of a call's listing."""
        moment = int(self._clock.now()).to_bytes(4, "big")
        text = json.dumps(key, ensure_ascii=False, separators=(",", ":"))
        content = text.encode("utf-8", "surrogatepass")
        sealed = _FORM + moment + self._mac(call, moment, content) + content
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")

    def open(self, call: bytes, token: str, life_s: float) -> Key:
        """Return the key in a token. Raises ValueError if the token is not valid for the call."""
        if len(token) > _LONGEST_TOKEN:
            raise ValueError("too long")
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        try:
            sealed = base64.b64decode(padded, altchars=b"-_", validate=True)
        except binascii.Error as error:
            raise ValueError("not base64") from error
        moment, mac, content = sealed[1:5], sealed[5:_HEAD_BYTES], sealed[_HEAD_BYTES:]
        if sealed[:1] != _FORM or not hmac.compare_digest(mac, self._mac(call, moment, content)):
            raise ValueError("not made here for this call")
        if int.from_bytes(moment, "big") + life_s < self._clock.now():
            raise ValueError("stale")
        return json.loads(content)

    def _mac(self, call: bytes, moment: bytes, content: bytes) -> bytes:
        said = b"%d:%b%b%b" % (len(call), call, moment, content)
        return hashlib.blake2b(said, key=self._key, digest_size=_MAC_BYTES).digest()


class Pager:
    """Cuts the listings of one operation.

    honoured: the parameters that are honoured here: the number of rows, and sealed tokens.
    """

    def __init__(
        self,
        model: OperationModel,
        paginator: Mapping[str, Any] | None,
        paging: Paging,
        paged: Paged,
        seal: Seal,
    ) -> None:
        found = paged.paginator or paginator
        if found is None:
            raise ValueError(f"{model.name} has no paginator")
        tokens = _several(found["input_token"])
        self._token = tokens[0]
        self._limit: str = found.get("limit_key", "")
        self._next = _several(found["output_token"])
        self._results = _several(found["result_key"])
        self._more: str = found.get("more_results", "")
        self._paging = paging
        self._readable = paged.readable
        self._size = paged.size or paging.size
        self._most = paged.most or paging.most
        self._seal = seal
        honoured = [self._limit] if self._readable else [self._token, self._limit]
        self.honoured = frozenset(filter(None, honoured))
        self._free = self.honoured | paged.free
        answered = model.output_shape.members if model.output_shape is not None else {}
        self._tells_limit = self._limit in answered
        needed = {*self._results, *filter(None, [self._more])}
        if not self._readable:
            needed |= {*self._next}
        if needed - set(answered) or (not self._readable and len(tokens) > 1):
            raise ValueError(f"the paginator of {model.name} is of a form that is not known")

    async def cut(self, ctx: Context, params: Mapping[str, Any], output: Any) -> Answer:
        """Return the answer with the page that the parameters select.

        output: the operation's, a listing or an Answer with one. Raises AwsError.
        """
        answer = output if isinstance(output, Answer) else Answer(listing=output)
        if answer.listing is None:
            raise TypeError(f"{ctx.operation} returned no listing")
        asked = params.get(self._limit)
        limit = self._size if asked is None else asked
        if self._most is not None:
            limit = min(limit, self._most)
        call, key = b"", None
        if not self._readable:
            call = self._identify(ctx, params)
            key = self._key(call, params)
        page = await answer.listing(key, limit)
        members = {**answer.output, **self._arranged(page.rows), **page.members}
        if self._tells_limit:
            members[self._limit] = limit
        if self._more:
            members[self._more] = page.end is not None
        if page.end is not None:
            members.update(self._following(call, page.end))
        return Answer(members, answer.status, answer.headers)

    def _identify(self, ctx: Context, params: Mapping[str, Any]) -> bytes:
        asked = {name: value for name, value in params.items() if name not in self._free}
        said = [ctx.service, ctx.operation, ctx.account, ctx.region, asked]
        return json.dumps(said, sort_keys=True, default=repr).encode()

    def _key(self, call: bytes, params: Mapping[str, Any]) -> Key:
        token = params.get(self._token)
        if not token:
            return None
        try:
            return self._seal.open(call, token, self._paging.life_s)
        except ValueError:
            raise self._paging.refused(self._token, token) from None

    def _arranged(self, rows: Sequence[Any]) -> dict[str, Any]:
        if len(self._results) == 1:
            return {self._results[0]: rows}
        arranged: dict[str, list[Any]] = {name: [] for name in self._results}
        for name, row in rows:
            arranged[name].append(row)
        return arranged

    def _following(self, call: bytes, end: Key) -> Mapping[str, Any]:
        if not self._readable:
            return {self._next[0]: self._seal.close(call, end)}
        return end if isinstance(end, Mapping) else {self._next[0]: end}


def _several(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)

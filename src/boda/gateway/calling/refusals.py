"""How a request that goes wrong is answered: in the protocol and the words of its service."""

from __future__ import annotations

import logging

from botocore.model import ServiceModel

from boda.core.errors import AwsError, Unreadable, Unwritable
from boda.core.ids import Ids
from boda.gateway.calling.exchange import Exchange
from boda.gateway.calling.refusal_log import RefusalLog
from boda.gateway.http.wire import WireResponse
from boda.gateway.protocols import Protocol, protocol_for
from boda.storage import disk

log = logging.getLogger("boda.gateway")


class _LoggedError(AwsError):
    """An error that has been logged in more than a line."""


class Refusals:
    """Serialises errors, and logs them; has the protocols also of services that boda lacks."""

    def __init__(self, ids: Ids, journal: RefusalLog) -> None:
        self._ids = ids
        self._journal = journal
        self._protocols: dict[str, Protocol] = {}

    def of(self, x: Exchange, error: BaseException) -> WireResponse:
        """Return the answer to a request that ended in an error, expected or not."""
        return self.answer(x, error if isinstance(error, AwsError) else self.unexpected(x, error))

    def answer(self, x: Exchange, error: AwsError) -> WireResponse:
        if isinstance(error, Unwritable | Unreadable):
            error = self._unwritable(x, error)
        request_id = self._request_id(x)
        if not isinstance(error, _LoggedError):
            self._journal.note(x, error)
        model = x.offered.model if x.offered is not None else None
        try:
            response = self._protocol(x).serialize_error(error, model, request_id)
        except Exception:
            log.exception("request %s: its error could not be written", request_id)
            return WireResponse(500, [("x-amzn-RequestId", request_id)])
        written = {name.lower() for name, _ in response.headers}
        response.headers.extend(
            (name, value) for name, value in error.headers.items() if name.lower() not in written
        )
        return response

    def unexpected(self, x: Exchange, error: BaseException) -> AwsError:
        """Log an exception, once. Return an error without details, except that the disk refuses
        writes."""
        if disk.refused(error):
            return disk.unwritable(error)
        name = f"{x.offered.service}:{x.offered.name}" if x.offered is not None else "it"
        log.error("request %s: %s failed", self._request_id(x), name, exc_info=error)
        code, message = x.dialect.internal
        return _LoggedError(code, message, 500)

    @staticmethod
    def _unwritable(x: Exchange, error: Unwritable | Unreadable) -> AwsError:
        return AwsError(x.dialect.unwritable, error.message, error.status, headers=error.headers)

    @staticmethod
    def stopping(x: Exchange) -> AwsError:
        code, message = x.dialect.stopping
        return AwsError(code, message, 503, headers={"Connection": "close"})

    def _request_id(self, x: Exchange) -> str:
        if not x.request_id:
            x.request_id = self._ids.uuid()
        return x.request_id

    def _protocol(self, x: Exchange) -> Protocol:
        wire = x.route.wire
        if x.installed is not None:
            return x.installed.protocol(wire)
        found = self._protocols.get(wire)
        if found is None:
            nothing = {
                "metadata": {"protocol": wire, "endpointPrefix": "boda"},
                "operations": {},
                "shapes": {},
            }
            found = self._protocols[wire] = protocol_for(ServiceModel(nothing, "boda"), wire)
        return found

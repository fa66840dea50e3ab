"""Events from JSON, and answers to JSON."""

import decimal
import json
import sys
import uuid

from .lambda_runtime_exception import FaultException

_BRACE = ord("{")
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


class LambdaMarshaller:
    """A handler's result to bytes, with AWS's treatment of decimals and of text.

    ``Decimal`` becomes a number with all its digits. From Python 3.12 text stays as it is, before
    it is escaped to ASCII.
    """

    def __init__(self):
        self._decimals = []
        self._mark = "decimal-" + uuid.uuid4().hex
        self._json = json.JSONEncoder(
            ensure_ascii=sys.version_info < (3, 12), default=self._default
        )

    def unmarshal_request(self, request, content_type="application/json"):
        """The event. request: bytes. Raises FaultException where they are no JSON."""
        if content_type != "application/json":
            return request
        try:
            return _load(request)
        except Exception as error:
            raise FaultException(
                FaultException.UNMARSHAL_ERROR, "Unable to unmarshal input: {}".format(error)
            ) from None

    def marshal_response(self, result):
        """Bytes and their content type. Raises FaultException where the result is not JSON
        serializable."""
        if isinstance(result, bytes):
            return result, "application/unknown"
        try:
            text = self._json.encode(result)
            if self._decimals:
                text = self._fill_in(text)
            return text.encode(), "application/json"
        except Exception as error:
            raise FaultException(
                FaultException.MARSHAL_ERROR, "Unable to marshal response: {}".format(error)
            ) from None
        finally:
            if self._decimals:
                self._decimals = []

    def _default(self, value):
        if isinstance(value, decimal.Decimal):
            self._decimals.append("NaN" if value.is_nan() else str(value))
            return self._mark
        raise TypeError("Object of type {} is not JSON serializable".format(type(value).__name__))

    def _fill_in(self, text):
        parts = text.split('"' + self._mark + '"')
        filled = [parts[0]]
        for digits, part in zip(self._decimals, parts[1:], strict=True):
            filled += (digits, part)
        return "".join(filled)


def _load(data):
    """What ``json.loads`` makes of the bytes; an object in UTF-8 without its detours."""
    if len(data) > 1 and data[0] == _BRACE and data[1]:
        try:
            text = str(data, "utf-8", "surrogatepass")
            value, end = _scan(text, 0)
            if end == len(text):
                return value
        except (StopIteration, ValueError):
            pass  # it is said below what is wrong
    return json.loads(data)


def to_json(value):
    """Bytes, whatever is in it."""
    return json.dumps(value, default=str).encode()

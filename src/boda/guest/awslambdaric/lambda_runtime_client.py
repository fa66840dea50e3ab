"""What the runtime tells the platform, in frames over the channel (``bootstrap.py`` has them)."""

import json
import struct

from .lambda_runtime_marshaller import LambdaMarshaller

_RESPONSE, _ERROR, _INIT_ERROR = 3, 4, 5
_HEAD = struct.Struct(">IB")
_ANSWER = struct.Struct(">IB8s")
_SHORT = struct.Struct(">H")
_CHUNK = 65536


class LambdaRuntimeClient:
    """One per runtime process. Tools put functions of their own in the place of its methods.

    channel: a connected stream socket. runtime: has ``settle``, ``stream``, ``streamed`` (types of
    answers that are sent piece by piece) and ``own_files`` (whose frames no stack trace shows).
    invocation: the platform's id of the present invocation. fixed: ``fixed_attributes()``.
    """

    def __init__(self, channel, runtime, fixed):
        self._channel = channel
        self.marshaller = LambdaMarshaller()
        self.settle = runtime.settle
        self.stream_invocation_result = runtime.stream
        self.streamed = runtime.streamed
        self.own_files = runtime.own_files
        self.fixed = fixed
        self.invocation = b""

    def post_init_error(self, error_response_data, error_type_override=None):
        """error_response_data: an error as ``make_error`` gives it."""
        name = (error_type_override or error_response_data["errorType"]).encode()[:512]
        body = json.dumps(error_response_data, default=str).encode()
        head = _HEAD.pack(3 + len(name) + len(body), _INIT_ERROR)
        self._channel.sendall(b"".join((head, _SHORT.pack(len(name)), name, body)))

    def post_invocation_result(self, invoke_id, result_data, content_type="application/json"):
        if isinstance(result_data, str):
            result_data = result_data.encode()
        self._send(_ANSWER.pack(9 + len(result_data), _RESPONSE, self.invocation), result_data)

    def post_invocation_error(self, invoke_id, error_response_data, xray_fault=None):
        """error_response_data: JSON."""
        if isinstance(error_response_data, str):
            error_response_data = error_response_data.encode()
        name = json.loads(error_response_data).get("errorType", "").encode("utf-8", "replace")[:512]
        size = 11 + len(name) + len(error_response_data)
        head = _ANSWER.pack(size, _ERROR, self.invocation)
        self._send(head + _SHORT.pack(len(name)) + name, error_response_data)

    def _send(self, head, body):
        if len(body) <= _CHUNK:
            self._channel.sendall(head + body)
        else:
            self._channel.sendall(head)
            self._channel.sendall(body)

"""Answers that a handler makes piece by piece: generators and asynchronous generators.

What a handler yields is text, bytes, or, first of all, an object: the status, headers and cookies
of an HTTP answer. Each piece is on its way when ``yield`` returns; while its caller is slow,
``yield`` waits.
"""

import json
import os
import struct
import types

KINDS = frozenset((types.GeneratorType, types.AsyncGeneratorType))

OCTETS = b"application/octet-stream"
HTTP = b"application/vnd.awslambda.http-integration-response"
_STREAM, _PART, _END = 6, 7, 8
_HEAD = struct.Struct(">IB8s")
_PIECE = 65536


class StreamingAnswer:
    """The pieces of one answer, as frames. It begins with the first piece.

    fault: the exception for what cannot be sent.
    """

    def __init__(self, channel, invocation, pid, fault):
        self._channel = channel
        self._invocation = invocation
        self._pid = pid
        self._fault = fault
        self._begun = False

    def send(self, piece):
        """One thing that the handler yielded. Raises the fault where it is nothing to send."""
        if os.getpid() != self._pid:
            os._exit(0)  # a child that the handler forked and that came back from it
        content_type = OCTETS
        if isinstance(piece, str):
            piece = self._encoded(piece)
        elif isinstance(piece, dict) and not self._begun:
            content_type = HTTP
            piece = self._prelude(piece)
        elif not isinstance(piece, (bytes, bytearray, memoryview)):
            raise self._no_answer(
                "a piece of a streamed answer is str or bytes, not {}".format(type(piece).__name__)
            )
        view = memoryview(piece).cast("B") if isinstance(piece, memoryview) else memoryview(piece)
        if not self._begun:
            self._begin(content_type)
        for at in range(0, len(view), _PIECE):
            part = view[at : at + _PIECE]
            head = _HEAD.pack(9 + len(part), _PART, self._invocation)
            self._channel.sendall(b"".join((head, part)))

    def end(self):
        """All pieces were sent, perhaps none."""
        begin = b"" if self._begun else self._begin_frame(OCTETS)
        self._channel.sendall(begin + _HEAD.pack(9, _END, self._invocation))

    def _begin(self, content_type):
        self._begun = True
        self._channel.sendall(self._begin_frame(content_type))

    def _begin_frame(self, content_type):
        return _HEAD.pack(9 + len(content_type), _STREAM, self._invocation) + content_type

    def _prelude(self, head):
        try:
            return json.dumps(head).encode() + bytes(8)
        except Exception as error:
            raise self._no_answer(error) from None

    def _encoded(self, text):
        try:
            return text.encode()
        except UnicodeEncodeError as error:
            raise self._no_answer(error) from None

    def _no_answer(self, why):
        return self._fault("Runtime.MarshalError", "Unable to marshal response: {}".format(why))


class Runner:
    """Sends what generators of either kind yield.

    The event loop of asynchronous ones lives as long as the process, so that connections that a
    function opened on it can be used again.
    """

    def __init__(self):
        self._loop = None

    def run(self, pieces, answer):
        """Raises what the generator raises."""
        if isinstance(pieces, types.GeneratorType):
            try:
                for piece in pieces:
                    answer.send(piece)
            finally:
                pieces.close()
            return
        if self._loop is None or self._loop.is_closed():
            # Loaded by functions that need it only: it takes longer than a cold start.
            import asyncio

            self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(_drive(pieces, answer))


async def _drive(pieces, answer):
    try:
        async for piece in pieces:
            answer.send(piece)
    finally:
        await pieces.aclose()

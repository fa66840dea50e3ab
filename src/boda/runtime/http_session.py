"""The HTTP side of a session: the Runtime API's requests, as steps of its conversation."""

from __future__ import annotations

from boda.runtime.frames import Invocation
from boda.runtime.session import InvocationReceiver, ResponseUpload, RuntimeSession
from boda.runtime.state import ProtocolViolation


class RuntimeApiError(Exception):
    """A request of the runtime is refused. status, error_type: of the answer."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type


class HttpSession:
    """Takes a runtime's HTTP requests into its session. Every request may raise RuntimeApiError.

    poll: a connection on which the runtime waits for an invocation; upload: one on which it sends
    an answer in parts. invocation_id: None if the runtime client sends none.
    """

    def __init__(self, session: RuntimeSession) -> None:
        self._session = session
        self._poll: InvocationReceiver | None = None
        self._undelivered = False

    @property
    def is_ready(self) -> bool:
        """Whether the runtime waits for an invocation."""
        return self._session.conversation.state == "ready"

    def deliver(self, invocation: Invocation) -> None:
        """Answer the runtime's poll; keep the invocation for the next one if there is none."""
        poll, self._poll = self._poll, None
        if poll is not None:
            poll.deliver(invocation)
        else:
            self._undelivered = True

    # Requests

    def next(self, poll: InvocationReceiver) -> None:
        """Wait for the next invocation."""
        session = self._session
        if self._undelivered and session.current is not None:
            self._undelivered = False
            poll.deliver(session.current)
            return
        self._move("next")
        session.http = self
        self._poll = poll
        session.listener.runtime_ready()

    def lost(self, poll: InvocationReceiver) -> None:
        """Forget a connection that has been lost."""
        if self._poll is poll:
            self._poll = None

    def respond(self, request_id: str, invocation_id: str | None, payload: bytes) -> None:
        self.check(request_id, invocation_id)
        self._move("response")
        self._session.current = None
        self._session.listener.runtime_answered(payload, False)

    def fail(
        self, request_id: str, invocation_id: str | None, error_type: str, body: bytes
    ) -> None:
        self.check(request_id, invocation_id)
        if self._session.conversation.state == "streaming":
            # An answer that has begun says in its trailers that it broke off.
            raise RuntimeApiError(
                403, "InvalidStateTransition", "Transition from streaming to error is not allowed."
            )
        self._move("error")
        self._session.current = None
        self._session.listener.runtime_failed(error_type, body, False)

    def fail_init(self, error_type: str, body: bytes) -> None:
        self._move("init_error")
        self._session.listener.runtime_init_failed(error_type, body)

    def check(self, request_id: str, invocation_id: str | None) -> None:
        """Raise RuntimeApiError unless this is the invocation that the runtime has in hand."""
        current = self._session.current
        if current is None or current.request_id != request_id:
            raise RuntimeApiError(400, "InvalidRequestID", "Invalid request ID")
        if invocation_id is not None and invocation_id != current.invocation_id.hex():
            raise RuntimeApiError(400, "InvalidInvocationId", "Invalid invocation ID")

    # Answers in parts

    def open_stream(
        self,
        request_id: str,
        invocation_id: str | None,
        content_type: str,
        upload: ResponseUpload,
    ) -> None:
        """Start to receive an answer in parts, of which the head has been read."""
        self.check(request_id, invocation_id)
        self._move("stream")
        session = self._session
        session.upload = upload
        session.sink = session.listener.runtime_streams(content_type, session)

    def feed(self, upload: ResponseUpload, data: bytes) -> None:
        if self._session.upload is upload:
            self._move("part")
            if self._session.sink is not None:
                self._session.sink.feed(data)

    def end_stream(self, upload: ResponseUpload) -> bool:
        """Return whether the answer was not too large."""
        self._leave(upload, "end")
        return self._session.listener.runtime_streamed(False)

    def break_stream(self, upload: ResponseUpload, error_type: str, body: bytes) -> None:
        """End an answer with the error of its trailers, or of its lost connection."""
        self._leave(upload, "error")
        self._session.listener.runtime_failed(error_type, body, False)

    def _leave(self, upload: ResponseUpload, event: str) -> None:
        session = self._session
        if session.upload is not upload:
            raise RuntimeApiError(403, "InvalidStateTransition", "The runtime is being stopped")
        self._move(event)
        session.resume()
        session.upload = session.current = session.sink = None

    def _move(self, event: str) -> None:
        if not self._session.is_open:
            raise RuntimeApiError(403, "InvalidStateTransition", "The runtime is being stopped")
        try:
            self._session.conversation.move(event)
        except ProtocolViolation as error:
            raise RuntimeApiError(
                403,
                "InvalidStateTransition",
                f"Transition from {error.state} to {error.event} is not allowed.",
            ) from None

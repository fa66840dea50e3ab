"""The requests of the Runtime API and their answers.

The Extensions and Telemetry APIs are answered 501.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import re

import orjson

from boda.core.errors import AwsError
from boda.runtime import credentials, metadata
from boda.runtime.api_request import ApiAnswer, ApiRequest
from boda.runtime.credentials import ContainerCredentials
from boda.runtime.frames import MAX_CONTENT_TYPE, MAX_PAYLOAD
from boda.runtime.http_session import HttpSession, RuntimeApiError
from boda.runtime.metadata import Metadata
from boda.runtime.session import (
    RESPONSE_TOO_LARGE,
    TRUNCATED,
    InvocationReceiver,
    ResponseUpload,
    too_large_body,
)

_ANSWER = re.compile(r"/2018-06-01/runtime/invocation/([^/]{1,128})/(response|error)")
_ACCEPTED = ApiAnswer(202, b'{"status":"OK"}\n', forward=True)


class RuntimeApiRoutes:
    """Answers the requests of one connection. Every method may raise RuntimeApiError.

    keys, metadata: the documents of those endpoints; None where there is no such endpoint.
    """

    def __init__(
        self,
        session: HttpSession,
        keys: ContainerCredentials | None,
        metadata: Metadata | None,
    ) -> None:
        self._session = session
        self._keys = keys
        self._metadata = metadata

    def answer(self, request: ApiRequest, poll: InvocationReceiver) -> ApiAnswer | None:
        """Answer a whole request; None for ``next``, which is answered through ``poll``."""
        path = request.path
        if path == "/2018-06-01/runtime/invocation/next":
            _only("GET", request)
            self._session.next(poll)
            return None
        answer = _ANSWER.fullmatch(path)
        if answer is not None:
            _only("POST", request)
            return self._invocation(request, answer[1], answer[2] == "error")
        if path == "/2018-06-01/runtime/init/error":
            _only("POST", request)
            _check_size(request)
            self._session.fail_init(request.error_type(), bytes(request.body))
            return _ACCEPTED
        if path.startswith("/2018-06-01/runtime/restore/"):
            words = "SnapStart is for Python runtimes, over frames"
            raise RuntimeApiError(501, "NotImplemented", words)
        if path == credentials.PATH and self._keys is not None:
            _only("GET", request)
            return _credentials(request, self._keys)
        if path == metadata.PATH and self._metadata is not None:
            _only("GET", request)
            return _metadata(request, self._metadata)
        if path.startswith("/2020-01-01/extension/"):
            words = "boda does not implement the Extensions API yet"
            raise RuntimeApiError(501, "NotImplemented", words)
        if path.startswith(("/2022-07-01/telemetry", "/2020-08-15/logs")):
            words = "boda does not implement the Telemetry API yet"
            raise RuntimeApiError(501, "NotImplemented", words)
        raise RuntimeApiError(404, "NotFound", "No such resource in the Runtime API")

    def _invocation(self, request: ApiRequest, request_id: str, failed: bool) -> ApiAnswer:
        """Take the response to an invocation, or its error."""
        headers = request.headers
        attempt = headers.get("lambda-runtime-invocation-id")
        self._session.check(request_id, attempt)
        if request.oversized:
            # The caller gets an error for its answer; the runtime gets a status.
            self._session.fail(request_id, attempt, RESPONSE_TOO_LARGE, too_large_body())
            _check_size(request)
        mode = headers.get("lambda-runtime-function-response-mode", "")
        if mode and mode.lower() not in ("streaming", "buffered"):
            self._session.fail(
                request_id,
                attempt,
                "Runtime.InvalidResponseModeHeader",
                orjson.dumps(
                    {
                        "errorMessage": f"Invalid response mode: {mode}",
                        "errorType": "Runtime.InvalidResponseModeHeader",
                    }
                ),
            )
            words = f"Invalid response mode: {mode}"
            raise RuntimeApiError(400, "InvalidResponseModeHeader", words)
        body = bytes(request.body)
        if failed or "lambda-runtime-function-error-type" in headers:
            error = _trailed_error(request) or body
            self._session.fail(request_id, attempt, request.error_type(), error)
        else:
            self._session.respond(request_id, attempt, body)
        return _ACCEPTED

    # Answers in parts

    def open_stream(self, request: ApiRequest, upload: ResponseUpload) -> bool:
        """Start to receive an answer in parts, if that is what the head of a request announces.

        The head says so by the response mode, or it is made like one: Go's client names no mode.
        It sends every answer in chunks and announces the trailers for an error half-way; what is
        not JSON then is read from the handler as it goes (``lambdaurl``, handlers that return a
        reader). Other requests take no notice of the mode.
        """
        if not _is_streamed(request.headers):
            return False
        answer = _ANSWER.fullmatch(request.path)
        if answer is None or answer[2] == "error" or request.method != "POST":
            return False
        self._session.open_stream(
            answer[1],
            request.headers.get("lambda-runtime-invocation-id"),
            request.headers.get("content-type", "")[:MAX_CONTENT_TYPE],
            upload,
        )
        return True

    def feed(self, upload: ResponseUpload, data: bytes) -> None:
        self._session.feed(upload, data)

    def end_stream(self, request: ApiRequest, upload: ResponseUpload) -> ApiAnswer:
        """Answer a request whose body was an answer in parts."""
        if "lambda-runtime-function-error-type" in request.headers:
            error_type, error = request.error_type(), _trailed_error(request)
            self._session.break_stream(upload, error_type, error)
        elif not self._session.end_stream(upload):
            words = "Exceeded maximum allowed payload size."
            raise RuntimeApiError(413, "RequestEntityTooLarge", words)
        return _ACCEPTED

    def break_stream(self, upload: ResponseUpload) -> None:
        """End an answer whose connection was lost."""
        words = "The response ended before it was whole"
        body = orjson.dumps({"errorMessage": words, "errorType": TRUNCATED})
        with contextlib.suppress(RuntimeApiError):  # the runtime was stopped, its caller answered
            self._session.break_stream(upload, TRUNCATED, body)


def _is_streamed(headers: dict[str, str]) -> bool:
    mode = headers.get("lambda-runtime-function-response-mode", "")
    if mode:
        return mode.lower() == "streaming"
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    announced = "lambda-runtime-function-error-type" in headers.get("trailer", "").lower()
    return announced and content_type not in ("", "application/json")


def _trailed_error(request: ApiRequest) -> bytes:
    """Return the error of the request's trailers, JSON in base64; b"" if they hold none."""
    given = request.headers.get("lambda-runtime-function-error-body", "")
    try:
        body = base64.b64decode(given, validate=True)
        orjson.loads(body)
    except (binascii.Error, ValueError):
        return b""
    return body


def _credentials(request: ApiRequest, keys: ContainerCredentials) -> ApiAnswer:
    if not keys.fits(request.headers.get("authorization", "")):
        raise RuntimeApiError(401, "InvalidToken", "This is not the token of this environment")
    try:
        return ApiAnswer(200, keys.document())
    except AwsError as error:  # the role gives no keys
        raise RuntimeApiError(500, "CredentialsError", str(error)) from None


def _metadata(request: ApiRequest, known: Metadata) -> ApiAnswer:
    if not known.fits(request.headers.get("authorization", "")):
        words = "The token is missing or is not this environment's"
        raise RuntimeApiError(401, "Unauthorized", words)
    lasts = f"private, max-age={metadata.LASTS_S}, immutable"
    return ApiAnswer(200, known.document(), {"Cache-Control": lasts})


def _only(method: str, request: ApiRequest) -> None:
    if request.method != method:
        raise RuntimeApiError(405, "MethodNotAllowed", f"Use {method}")


def _check_size(request: ApiRequest) -> None:
    if request.oversized:
        raise RuntimeApiError(
            413,
            "RequestEntityTooLarge",
            f"Exceeded maximum allowed payload size ({MAX_PAYLOAD} bytes).",
        )

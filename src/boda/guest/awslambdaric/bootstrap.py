"""One invocation, and the way from a handler's name to it."""

import importlib
import json
import sys
import traceback

from .lambda_context import LambdaContext
from .lambda_runtime_client import LambdaRuntimeClient
from .lambda_runtime_exception import FaultException
from .lambda_runtime_marshaller import to_json

__all__ = ["FaultException", "LambdaContext", "LambdaRuntimeClient", "handle_event_request"]


def handle_event_request(
    lambda_runtime_client,
    request_handler,
    invoke_id,
    event_body,
    content_type,
    client_context_json,
    cognito_identity_json,
    invoked_function_arn,
    epoch_deadline_time_in_ms,
    tenant_id,
    log_sink,
):
    """Run the handler for one event and post what comes of it.

    event_body: bytes. client_context_json, cognito_identity_json: text, or None.
    """
    client = lambda_runtime_client
    failure = stream = None
    result, result_type = b"", ""
    try:
        context = LambdaContext(
            invoke_id,
            parse_json_header(client_context_json, "Client Context")
            if client_context_json
            else None,
            parse_json_header(cognito_identity_json, "Cognito Identity")
            if cognito_identity_json
            else None,
            epoch_deadline_time_in_ms,
            invoked_function_arn,
            tenant_id,
            client.fixed,
        )
        event = client.marshaller.unmarshal_request(event_body, content_type)
        response = request_handler(event, context)
        if type(response) in client.streamed:
            stream = client.stream_invocation_result(response)
        else:
            result, result_type = client.marshaller.marshal_response(response)
    except Exception as error:
        failure = build_fault_result(error, invoke_id, client.own_files)
    client.settle()
    if failure is not None:
        log_error(failure, log_sink)
        client.post_invocation_error(invoke_id, to_json(failure))
    elif stream is not None:
        stream.end()
    else:
        client.post_invocation_result(invoke_id, result, result_type)


def log_error(error_result, log_sink):
    """Log an error as the function's author reads it."""
    log_sink.log_error(error_result)


def parse_json_header(header, name):
    """The object in a header. Raises FaultException."""
    try:
        value = json.loads(header)
    except Exception as error:
        raise FaultException(
            FaultException.LAMBDA_CONTEXT_UNMARSHAL_ERROR,
            "Unable to parse {} JSON: {}".format(name, error),
        ) from None
    return value if isinstance(value, dict) else {}


def make_error(message, error_type, trace, request_id=""):
    return {
        "errorMessage": message or "",
        "errorType": error_type or "",
        "requestId": request_id or "",
        "stackTrace": trace or [],
    }


def build_fault_result(error, request_id, own_files):
    """The error's wire form. own_files: whose frames at the top of the stack are not shown."""
    if isinstance(error, FaultException):
        return make_error(error.msg, error.exception_type, error.trace, request_id)
    frames = [
        (frame.filename, frame.lineno or 0, frame.name, frame.line)
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    for index, frame in enumerate(frames):
        if frame[0] not in own_files:
            frames = frames[index:]
            break
    try:
        message = str(error)
    except Exception:
        message = "<unprintable {} object>".format(type(error).__name__)
    return make_error(message, type(error).__name__, traceback.format_list(frames), request_id)


def _get_handler(name):
    """The function a handler's name means. Raises FaultException, or whatever the module raises."""
    try:
        module_name, function_name = name.rsplit(".", 1)
    except ValueError as error:
        raise FaultException(
            FaultException.MALFORMED_HANDLER_NAME, "Bad handler '{}': {}".format(name, error)
        ) from None
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise FaultException(
            FaultException.BUILT_IN_MODULE_CONFLICT,
            "Cannot use built-in module {} as a handler module".format(module_name),
        )
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as error:
        raise FaultException(
            FaultException.IMPORT_MODULE_ERROR,
            "Unable to import module '{}': {}".format(module_name, error),
        ) from None
    except SyntaxError as error:
        trace = ['  File "{}" Line {}\n    {}'.format(error.filename, error.lineno, error.text)]
        raise FaultException(
            FaultException.USER_CODE_SYNTAX_ERROR,
            "Syntax error in module '{}': {}".format(module_name, error),
            trace,
        ) from None
    except (TypeError, ValueError) as error:
        # Names such as ".handler" or "..x.handler" name no module at all.
        if error.__traceback__ is not None and _raised_by_importlib(error):
            raise FaultException(
                FaultException.IMPORT_MODULE_ERROR,
                "Unable to import module '{}': {}".format(module_name, error),
            ) from None
        raise
    try:
        return getattr(module, function_name)
    except AttributeError:
        raise FaultException(
            FaultException.HANDLER_NOT_FOUND,
            "Handler '{}' missing on module '{}'".format(function_name, module_name),
        ) from None


def _raised_by_importlib(error):
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return last.startswith("<frozen importlib") or last == importlib.__file__

"""The context object a handler gets, with AWS's attributes and methods."""

import logging
import os
import sys
import time


class CognitoIdentity:
    __slots__ = ["cognito_identity_id", "cognito_identity_pool_id"]

    def __init__(self, fields):
        self.cognito_identity_id = fields.get("cognitoIdentityId")
        self.cognito_identity_pool_id = fields.get("cognitoIdentityPoolId")

    def __repr__(self):
        return _show(self)


class Client:
    __slots__ = [
        "app_package_name",
        "app_title",
        "app_version_code",
        "app_version_name",
        "installation_id",
    ]

    def __init__(self, fields):
        for name in self.__slots__:
            setattr(self, name, fields.get(name))

    def __repr__(self):
        return _show(self)


class ClientContext:
    __slots__ = ["client", "custom", "env"]

    def __init__(self, fields):
        self.custom = fields.get("custom")
        self.env = fields.get("env")
        client = fields.get("client")
        self.client = Client(client) if isinstance(client, dict) else None

    def __repr__(self):
        return _show(self)


class LambdaContext:
    """One per invocation. ``memory_limit_in_mb`` is text, as on AWS."""

    def __init__(
        self,
        invoke_id,
        client_context,
        cognito_identity,
        epoch_deadline_time_in_ms,
        invoked_function_arn=None,
        tenant_id=None,
        fixed=None,
    ):
        """client_context, cognito_identity: decoded, or None. fixed: ``fixed_attributes()``, where
        they are known already."""
        self.aws_request_id = invoke_id
        self.__dict__.update(fixed_attributes() if fixed is None else fixed)
        self.invoked_function_arn = invoked_function_arn
        self.tenant_id = tenant_id
        self.client_context = None if client_context is None else ClientContext(client_context)
        self.identity = CognitoIdentity(cognito_identity or {})
        self._epoch_deadline_time_in_ms = epoch_deadline_time_in_ms

    @property
    def epoch_deadline_time_in_ms(self):
        return self._epoch_deadline_time_in_ms

    def get_remaining_time_in_millis(self):
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def log(self, message):
        for handler in logging.getLogger().handlers:
            sink = getattr(handler, "log_sink", None)
            if sink is not None:
                sink.log(str(message))
                return
        sys.stdout.write(str(message))

    def __repr__(self):
        names = (
            "aws_request_id",
            "log_group_name",
            "log_stream_name",
            "function_name",
            "memory_limit_in_mb",
            "function_version",
            "invoked_function_arn",
            "client_context",
            "identity",
            "tenant_id",
        )
        shown = ",".join("{}={}".format(name, getattr(self, name)) for name in names)
        return "LambdaContext([{}])".format(shown)


def fixed_attributes():
    """What is the same for every invocation of this process."""
    get = os.environ.get
    return {
        "log_group_name": get("AWS_LAMBDA_LOG_GROUP_NAME"),
        "log_stream_name": get("AWS_LAMBDA_LOG_STREAM_NAME"),
        "function_name": get("AWS_LAMBDA_FUNCTION_NAME"),
        "memory_limit_in_mb": get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
        "function_version": get("AWS_LAMBDA_FUNCTION_VERSION"),
    }


def _show(thing):
    shown = ",".join("{}={}".format(name, getattr(thing, name)) for name in thing.__slots__)
    return "{}([{}])".format(type(thing).__name__, shown)

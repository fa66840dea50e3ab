"""The environment variables of an execution environment. Pure.

Names and values are as recorded on AWS; reserved variables override the user's, and the user's
override the others (Lambda developer guide, "configuration-envvars").
"""

from __future__ import annotations

from boda.core.urls import USUAL_ENDPOINT
from boda.runtime.credentials import PATH as CREDENTIALS_PATH
from boda.runtime.credentials import ContainerCredentials, RoleCredential
from boda.runtime.function import FunctionVersion, Initialization
from boda.sandbox.plan import LIBRARY_PATH, PATH, RUNTIME_API_PORT


def variables(
    version: FunctionVersion,
    stream: str,
    keys: RoleCredential | ContainerCredentials,
    metadata_token: str,
    initialization: Initialization = "on-demand",
    *,
    endpoint_url: str = USUAL_ENDPOINT,
) -> dict[str, str]:
    """Return all environment variables of the runtime process.

    stream: the log stream's name. keys: the keys, or the endpoint to fetch them from. endpoint_url:
    of AWS for functions. metadata_token: of the metadata endpoint. With ``snap-start`` the log
    group and stream are left out, as on AWS (Lambda developer guide, "snapstart-monitoring"), since
    one init serves many environments.
    """
    runtime = version.runtime
    changeable = {
        "LANG": "en_US.UTF-8",
        "LC_CTYPE": "C.UTF-8",
        "TZ": ":UTC",
        "PATH": PATH,
        "LD_LIBRARY_PATH": LIBRARY_PATH,
        "PWD": "/var/task",
        "SHLVL": "0",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
        "_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "AWS_ENDPOINT_URL": endpoint_url,
    }
    if runtime.startswith("python"):
        changeable["PYTHONPATH"] = "/var/runtime"
    fixed = {
        "_HANDLER": version.handler,
        "AWS_REGION": version.region,
        "AWS_DEFAULT_REGION": version.region,
        "AWS_LAMBDA_FUNCTION_NAME": version.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(version.memory_mb),
        "AWS_LAMBDA_FUNCTION_VERSION": version.version,
        "AWS_LAMBDA_INITIALIZATION_TYPE": initialization,
        "AWS_LAMBDA_LOG_GROUP_NAME": version.log.group,
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{RUNTIME_API_PORT}",
        "AWS_LAMBDA_METADATA_API": f"127.0.0.1:{RUNTIME_API_PORT}",
        "AWS_LAMBDA_METADATA_TOKEN": metadata_token,
        "LAMBDA_TASK_ROOT": "/var/task",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }
    if initialization == "snap-start":
        del fixed["AWS_LAMBDA_LOG_GROUP_NAME"], fixed["AWS_LAMBDA_LOG_STREAM_NAME"]
    if isinstance(keys, ContainerCredentials):
        fixed["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = (
            f"http://127.0.0.1:{RUNTIME_API_PORT}{CREDENTIALS_PATH}"
        )
        fixed["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = keys.token
    else:
        fixed["AWS_ACCESS_KEY_ID"] = keys.access_key_id
        fixed["AWS_SECRET_ACCESS_KEY"] = keys.secret
        fixed["AWS_SESSION_TOKEN"] = keys.session_token
    if not runtime.startswith("provided"):
        fixed["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{runtime}"
    if version.log.format == "JSON":
        fixed["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
        fixed["AWS_LAMBDA_LOG_LEVEL"] = version.log.application_level or "INFO"
    return {**changeable, **dict(version.environment), **fixed}

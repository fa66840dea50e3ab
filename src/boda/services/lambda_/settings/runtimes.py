"""The runtimes that AWS has, as data, and the refusals of others.

Creating a function only checks whether AWS offers the runtime. If this machine cannot run it, the
function's configuration reports so (``RuntimeVersionConfig.Error``), and invoking it is refused.
"""

from __future__ import annotations

from boda.core.errors import AwsError
from boda.services.lambda_.errors import invalid

# In the order in which the service lists them when it refuses another (recorded).
_NAMED = (
    "nodejs20.x",
    "python3.14",
    "provided.al2023",
    "python3.12",
    "python3.13",
    "nodejs24.x",
    "nodejs22.x",
    "java25",
    "python3.10",
    "python3.11",
    "java21",
    "ruby3.3",
    "ruby3.4",
    "ruby3.2",
    "python3.8",
    "python3.9",
    "java17",
    "nodejs16.x",
    "dotnet10",
    "dotnet8",
    "java11",
    "dotnet6",
    "nodejs18.x",
    "provided.al2",
    "java8.al2",
)

# In today's service model, but younger than the recorded sentence.
_YOUNGER = (
    "nodejs26.x",
    "python3.15",
    "ruby4.0",
    "java8.al2023",
    "java11.al2023",
    "java17.al2023",
)

_RETIRED = frozenset(
    {
        "nodejs",
        "nodejs4.3",
        "nodejs4.3-edge",
        "nodejs6.10",
        "nodejs8.10",
        "nodejs10.x",
        "nodejs12.x",
        "nodejs14.x",
        "java8",
        "python2.7",
        "python3.6",
        "python3.7",
        "dotnetcore1.0",
        "dotnetcore2.0",
        "dotnetcore2.1",
        "dotnetcore3.1",
        "go1.x",
        "ruby2.5",
        "ruby2.7",
        "provided",
    }
)

OFFERED = frozenset(_NAMED) | frozenset(_YOUNGER)
KNOWN = OFFERED | _RETIRED
"""The runtimes that a layer may name."""


def check(runtime: str) -> None:
    """Raises InvalidParameterValueException unless AWS allows new functions with the runtime."""
    if runtime in OFFERED:
        return
    if runtime in _RETIRED:
        raise invalid(
            f"The runtime parameter of {runtime} is no longer supported for creating or updating "
            "AWS Lambda functions. We recommend you use a supported runtime while creating or "
            "updating functions."
        )
    raise invalid(
        f"Value {runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum "
        f"value set: [{', '.join(_NAMED)}] or be a valid ARN"
    )


def absent_here(runtime: str) -> AwsError:
    """Return the answer to invoking a function whose runtime this machine lacks; its configuration
    has the same warning before."""
    if runtime.startswith("python"):
        version = runtime.removeprefix("python")
        remedy = (
            f"Install Python {version} (`uv python install {version}`, pyenv, a package of the "
            "system) and start boda again, or choose one that `boda runtimes` lists."
        )
    else:
        remedy = (
            "Choose one that `boda runtimes` lists; a program in any language runs as the "
            "bootstrap of provided.al2023."
        )
    return AwsError(
        "InvalidRuntimeException",
        f"The runtime {runtime} is not found on this machine. {remedy}",
        502,
        Type="Service",
    )

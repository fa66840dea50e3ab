"""``boda delete``: a function and what ``boda deploy`` made for it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from boda.cli.options import DataDir, Json, Region, data_dir
from boda.core.arn import is_arn
from boda.core.errors import PlatformError

EXAMPLES = (
    "boda delete hello          its logs stay",
    "boda delete hello --logs   and its log group",
)


def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the function.")],
    logs: Annotated[bool, typer.Option("--logs", help="Delete its log group, too.")] = False,
    region: Region = None,
    folder: DataDir = None,
    as_json: Json = False,
) -> None:
    """Delete a function with its URL, its triggers and its role.

    Only a role that `boda deploy` made for the function is deleted. Buckets stay, and call it
    no more.
    """
    from boda.cli import functions, roles, triggers
    from boda.cli.client import connect
    from boda.cli.output import print_json

    if not is_arn(name):
        functions.check_name(name, "Versions and aliases go with their function.")
    connection = connect(data_dir(folder), region)
    client, iam = connection.client("lambda"), connection.client("iam")
    found = functions.present(client, name)
    done: list[str] = []
    if found is not None:
        name, arn = found["FunctionName"], found["FunctionArn"]
        done += [f"notifications of {one}" for one in triggers.stop_calls(connection, name, arn)]
        client.delete_function(FunctionName=name)
        done.append(f"function {arn}")
    try:
        role = roles.own_role(iam, name, connection.region)
    except PlatformError:
        role = None  # made by someone else
    if role is not None:
        roles.delete_role(iam, role["RoleName"])
        done.append(f"role {role['RoleName']}")
    if logs:
        group = (found or {}).get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{name}"
        client = connection.client("logs")
        try:
            client.delete_log_group(logGroupName=group)
        except client.exceptions.ResourceNotFoundException:
            pass
        else:
            done.append(f"log group {group}")
    if not done:
        raise PlatformError(
            f"There is no function {name} in {connection.region}; for another region say --region."
        )
    if as_json:
        print_json({"Deleted": done})
        return
    for one in done:
        print(f"Deleted {one}", file=sys.stderr)

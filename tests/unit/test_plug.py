"""A service that is new takes one folder and one entry in the tuple."""

from __future__ import annotations

import ast
import asyncio
import urllib.request
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from botocore.session import Session

import boda
from boda.app import PLUGS
from boda.core.arn import build as arn_text
from boda.core.clock import SystemClock
from boda.core.principal import service_principal
from boda.delivery.contract import EventSource
from support import shelf_service
from support.world import ACCOUNT, World, world

FOR_A = {
    "Effect": "Allow",
    "Action": "shelf:*",
    "Resource": "*",
    "Condition": {"StringEquals": {"shelf:FirstLetter": "a"}},
}


async def test_a_new_service_is_one_folder_and_one_entry(tmp_path: Path) -> None:
    async with world(tmp_path, "iam", shelf_service.PLUG, clock=SystemClock(), serve=True) as here:
        client = _client(here)
        await asyncio.to_thread(client.put_thing, Name="apple", Text="red")
        found = await here.call("shelf", "GetThing", Name="apple")
        assert found == {"Name": "apple", "Text": "red"}
        with pytest.raises(ClientError, match="Member must have length less than or equal to 8"):
            await asyncio.to_thread(client.get_thing, Name="too-long-a-name")
        with pytest.raises(ClientError, match="boda does not implement shelf:DeleteThing yet"):
            await asyncio.to_thread(client.delete_thing, Name="apple")
        with pytest.raises(client.exceptions.NoSuchThing):
            await asyncio.to_thread(client.get_thing, Name="pear")

        ann = (await here.user("ann", FOR_A)).principal
        assert await here.error("shelf", "GetThing", ann, Name="apple") is None
        refused = await here.error("shelf", "GetThing", ann, Name="pear")
        assert refused is not None and (refused.code, refused.status) == ("ShelfForbidden", 403)

        source = EventSource(service_principal("events.amazonaws.com"), "", ACCOUNT, "us-east-1")
        target = arn_text("shelf", "us-east-1", ACCOUNT, "plum")
        assert await here.host.post.deliver(target, b"{}", source) == "delivered"
        page = await asyncio.to_thread(_read, f"{here.url}/shelf")
        assert page == b"apple plum"
    async with world(tmp_path, "iam", shelf_service.PLUG) as again:  # its rows are there again
        found = await again.call("shelf", "GetThing", Name="plum")
        assert found["Text"] == "{}"


async def test_what_runs_is_started_and_stopped_in_order(tmp_path: Path) -> None:
    async with world(tmp_path, "iam", shelf_service.PLUG) as here:
        shelf = here.house.running["shelf"].sites[0]
        assert shelf.runs == "started"  # type: ignore[attr-defined]
    assert shelf.runs == "stopped"  # type: ignore[attr-defined]


def test_no_file_of_the_gateway_names_a_service() -> None:
    """Words in sentences for readers apart: what is a name or a text in the code."""
    names = {one.name for one in PLUGS} | {"sqs", "sns", "dynamodb", "apigateway", "kinesis"}
    names -= {"boda"}  # the platform's own name
    prefixes = tuple(f"{name}:" for name in names)
    found = []
    for path in sorted((Path(boda.__file__).parent / "gateway").rglob("*.py")):
        tree = ast.parse(path.read_text())
        docstrings = {
            id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)
        }  # also those behind attributes
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if id(node) not in docstrings and (
                    node.value in names or node.value.startswith(prefixes)
                ):
                    found.append(f"{path.name}:{node.lineno} {node.value!r}")
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "boda.services"
            ):
                found.append(f"{path.name}:{node.lineno} {node.module}")
    assert not found, found


def _client(here: World):  # type: ignore[no-untyped-def]
    session = Session()
    session.get_component("data_loader").search_paths.append(str(shelf_service.PLUG.models))
    made = session.create_client(
        "shelf",
        region_name="us-east-1",
        endpoint_url=here.url,
        aws_access_key_id=here.key.access_key_id,
        aws_secret_access_key=here.key.secret,
    )
    here.clients.append(made)
    return made


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return bytes(answer.read())

"""A service that keeps things by name: what a new service consists of, in one folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from boda.core.arn import Arn
from boda.core.arn import build as arn_text
from boda.core.errors import AwsError
from boda.core.policy import Policy
from boda.core.principal import Principal
from boda.delivery.contract import EventSource
from boda.delivery.post_office import Message
from boda.gateway.asking.need import Need
from boda.gateway.calling.operation import Context, operation
from boda.gateway.calling.service import Service
from boda.gateway.dialect import JSON
from boda.gateway.http.wire import WireRequest, WireResponse
from boda.plug import Host, Plug, Running
from boda.storage.schema import Schema

metadata = Schema("shelf")
_THINGS = sa.Table(
    "shelf_things",
    metadata,
    sa.Column("account", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("text", sa.String, nullable=False),
)


def _on_thing(shelf: Shelf, ctx: Context, params: Mapping[str, Any]) -> Iterable[Need]:
    name = params["Name"]
    context = {"shelf:FirstLetter": name[:1]}
    arn = arn_text("shelf", ctx.region, ctx.account, name)
    yield Need(f"shelf:{ctx.operation}", arn, context=context)


class Shelf:
    """Things in memory and on disk; it answers ``/shelf`` and takes events for its ARNs, too."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.things: dict[tuple[str, str], str] = {}
        self.runs = ""

    async def load(self) -> None:
        rows = await self._host.rows.read(lambda tx: tx.run(sa.select(_THINGS)).all())
        self.things = {(row.account, row.name): row.text for row in rows}

    async def start(self) -> None:
        self.runs = "started"

    async def stop(self) -> None:
        self.runs = "stopped"

    @operation("PutThing", authorize=_on_thing)
    async def put(self, ctx: Context, *, name: str, text: str = "") -> None:
        await self.keep(ctx.account, name, text)

    @operation("GetThing", authorize=_on_thing)
    async def get(self, ctx: Context, *, name: str) -> dict[str, Any]:
        text = self.things.get((ctx.account, name))
        if text is None:
            raise AwsError("NoSuchThing", f"There is no thing {name}.", 404)
        return {"Name": name, "Text": text}

    async def keep(self, account: str, name: str, text: str) -> None:
        row = {"account": account, "name": name, "text": text}
        await self._host.rows.write(lambda tx: tx.run(sa.insert(_THINGS), row))
        self.things[account, name] = text

    def policy_of(self, resource: Arn, principal: Principal) -> Policy | None:
        return None

    # A site

    def matches(self, request: WireRequest) -> bool:
        return request.path == "/shelf"

    async def handle(self, request: WireRequest) -> WireResponse:
        return WireResponse(200, [], " ".join(name for _, name in sorted(self.things)).encode())

    # A delivery adapter

    def may_deliver(self, target_arn: str, source: EventSource) -> bool:
        return True

    async def deliver(self, target_arn: str, message: Message) -> str:
        target = Arn.parse(target_arn)
        await self.keep(target.account, target.resource, message.event.decode())
        return "delivered"


def build(host: Host) -> Running:
    shelf = Shelf(host)
    return Running(
        Service("shelf", [shelf], condition_keys=["shelf:FirstLetter"]),
        sites=(shelf,),
        adapters={"shelf": shelf},
        policy_of=shelf.policy_of,
        load=shelf.load,
        start=shelf.start,
        stop=shelf.stop,
    )


PLUG = Plug(
    "shelf",
    build,
    dialect=replace(JSON, forbidden=("ShelfForbidden", 403)),
    tables=(metadata,),
    models=Path(__file__).parent / "model",
)

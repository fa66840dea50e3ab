"""Layers as the service keeps them: in memory, and as rows.

A layer's versions are numbered without gaps being filled: a deleted number is not given again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa

from boda.core.arn import build
from boda.services.lambda_.records import Key
from boda.services.lambda_.rows import metadata
from boda.storage.rows import Tx


@dataclass(frozen=True, slots=True)
class LayerVersion:
    """One version of a layer.

    sha256: hexadecimal, of its package. created_at: epoch seconds. runtimes, architectures,
    license: None where none were given, which AWS does not echo. statements: its policy's, whose
    revision is policy_revision.
    """

    account: str
    region: str
    name: str
    number: int
    description: str
    sha256: str
    code_bytes: int
    unzipped_bytes: int
    created_at: float
    runtimes: Sequence[str] | None = None
    architectures: Sequence[str] | None = None
    license: str | None = None
    statements: Sequence[Mapping[str, Any]] = ()
    policy_revision: str = ""

    @property
    def layer_arn(self) -> str:
        return layer_arn((self.account, self.region, self.name))

    @property
    def arn(self) -> str:
        return f"{self.layer_arn}:{self.number}"


@dataclass(slots=True)
class Layer:
    """last: the highest number ever given."""

    last: int = 0
    versions: dict[int, LayerVersion] = field(default_factory=dict)


def layer_arn(key: Key) -> str:
    account, region, name = key
    return build("lambda", region, account, f"layer:{name}")


layers = sa.Table(
    "lambda_layers",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last", sa.Integer, nullable=False),
)

layer_versions = sa.Table(
    "lambda_layer_versions",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("code_bytes", sa.Integer, nullable=False),
    sa.Column("unzipped_bytes", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("runtimes", sa.LargeBinary, nullable=False),
    sa.Column("architectures", sa.LargeBinary, nullable=False),
    sa.Column("license", sa.Text),
    sa.Column("statements", sa.LargeBinary, nullable=False),
    sa.Column("policy_revision", sa.Text, nullable=False),
)

_JSON = ("runtimes", "architectures", "statements")


def load(tx: Tx) -> dict[Key, Layer]:
    """Every layer with its versions; of one whose versions are deleted, the last number."""
    found = {
        (row.account, row.region, row.name): Layer(row.last) for row in tx.run(sa.select(layers))
    }
    for row in tx.run(sa.select(layer_versions)):
        members = row._asdict() | {name: orjson.loads(getattr(row, name)) for name in _JSON}
        version = LayerVersion(**members)
        found[version.account, version.region, version.name].versions[version.number] = version
    return found


def put_layer(tx: Tx, key: Key, last: int) -> None:
    account, region, name = key
    tx.upsert(layers, {"account": account, "region": region, "name": name, "last": last})


def put_version(tx: Tx, version: LayerVersion) -> None:
    """Make or replace a version."""
    values = {
        column.name: orjson.dumps(getattr(version, column.name))
        if column.name in _JSON
        else getattr(version, column.name)
        for column in layer_versions.columns
    }
    tx.upsert(layer_versions, values)


def delete_version(tx: Tx, version: LayerVersion) -> None:
    columns = layer_versions.c
    tx.run(
        sa.delete(layer_versions).where(
            columns.account == version.account,
            columns.region == version.region,
            columns.name == version.name,
            columns.number == version.number,
        )
    )

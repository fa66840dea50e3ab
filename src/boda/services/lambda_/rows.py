"""The rows of the Lambda service, one sentence per access.

The settings of a version are one JSON column: they are read and written whole, and never asked
for one by one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from boda.core.resource_policy import Statement
from boda.services.lambda_.records import (
    Alias,
    Function,
    FunctionSettings,
    Key,
    LayerUse,
    ReasonedState,
    Version,
    plain,
)
from boda.storage.rows import Tx
from boda.storage.schema import Schema

metadata = Schema("lambda")

_SETTINGS = {each.name for each in dataclasses.fields(FunctionSettings)}
_STANDING_MEMBERS = len(dataclasses.fields(ReasonedState))
_LAYER_MEMBERS = len(LayerUse._fields)

functions = sa.Table(
    "lambda_functions",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("tags", sa.LargeBinary, nullable=False),
    sa.Column("reserved", sa.Integer),
    sa.Column("recursive_loop", sa.Text, nullable=False),
    sa.Column("last_version", sa.Integer, nullable=False),
)

versions = sa.Table(
    "lambda_versions",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("settings", sa.LargeBinary, nullable=False),
    sa.Column("code_sha256", sa.Text, nullable=False),
    sa.Column("code_bytes", sa.Integer, nullable=False),
    sa.Column("unzipped_bytes", sa.Integer, nullable=False),
    sa.Column("revision_id", sa.Text, nullable=False),
    sa.Column("build_id", sa.Text, nullable=False),
    sa.Column("modified_at", sa.Float, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
    sa.Column("update", sa.LargeBinary, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),
)

aliases = sa.Table(
    "lambda_aliases",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("alias", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("weights", sa.LargeBinary, nullable=False),
    sa.Column("revision_id", sa.Text, nullable=False),
)

policies = sa.Table(
    "lambda_policies",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("qualifier", sa.Text, primary_key=True),
    sa.Column("statements", sa.LargeBinary, nullable=False),
)

attached = sa.Table(
    "lambda_attached",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("qualifier", sa.Text, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)

last_numbers = sa.Table(
    "lambda_last_numbers",
    metadata,
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("region", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last_version", sa.Integer, nullable=False),
)
"""Of deleted functions, so that the number of a version never comes again under its name."""

_VERSION_COLUMNS = [
    versions.c[name]
    for name in (
        *("account", "region", "name", "version", "settings", "code_sha256", "code_bytes"),
        *("unzipped_bytes", "revision_id", "build_id", "modified_at", "state", "update", "origin"),
    )
]


def load(tx: Tx) -> list[Function]:
    """Every function with its versions, aliases, policies and what is attached to it."""
    found: dict[Key, Function] = {}
    standings: dict[bytes, ReasonedState] = {}  # there are few different ones

    def standing(content: bytes) -> ReasonedState:
        known = standings.get(content)
        if known is None:
            known = standings[content] = standing_of(content)
        return known

    for row in tx.run(sa.select(functions)):
        found[row.account, row.region, row.name] = Function(
            row.account,
            row.region,
            row.name,
            {},
            orjson.loads(row.tags),
            row.reserved,
            row.recursive_loop,
            last_version=row.last_version,
        )
    # There are many of these: columns by their place cost half of what they cost by name.
    for row in tx.run(sa.select(*_VERSION_COLUMNS)):
        account, region, name, number, settings, sha256, code, unzipped, revision, build, at = row[
            :11
        ]
        found[account, region, name].versions[number] = Version(
            account,
            region,
            name,
            number,
            settings_of(settings),
            sha256,
            code,
            unzipped,
            revision,
            build,
            at,
            standing(row[11]),
            standing(row[12]),
            row[13],
        )
    for row in tx.run(sa.select(aliases)):
        found[row.account, row.region, row.name].aliases[row.alias] = Alias(
            row.alias, row.version, row.description, orjson.loads(row.weights), row.revision_id
        )
    for row in tx.run(sa.select(policies)):
        statements = orjson.loads(row.statements)
        found[row.account, row.region, row.name].policies[row.qualifier] = statements
    for row in tx.run(sa.select(attached)):
        kinds = found[row.account, row.region, row.name].attached
        kinds.setdefault(row.kind, {})[row.qualifier] = orjson.loads(row.content)
    return list(found.values())


def put_function(tx: Tx, function: Function) -> None:
    """Make or replace what belongs to the function as a whole."""
    tx.upsert(
        functions,
        {
            "account": function.account,
            "region": function.region,
            "name": function.name,
            "tags": orjson.dumps(function.tags),
            "reserved": function.reserved,
            "recursive_loop": function.recursive_loop,
            "last_version": function.last_version,
        },
    )


def put_version(tx: Tx, version: Version) -> None:
    """Make or replace one version."""
    tx.upsert(
        versions,
        {
            "account": version.account,
            "region": version.region,
            "name": version.name,
            "version": version.version,
            "settings": orjson.dumps(plain(version.settings)),
            "code_sha256": version.code_sha256,
            "code_bytes": version.code_bytes,
            "unzipped_bytes": version.unzipped_bytes,
            "revision_id": version.revision_id,
            "build_id": version.build_id,
            "modified_at": version.modified_at,
            "state": orjson.dumps(dataclasses.astuple(version.state)),
            "update": orjson.dumps(dataclasses.astuple(version.update)),
            "origin": version.origin,
        },
    )


def put_versions(tx: Tx, some: Iterable[Version]) -> None:
    for version in some:
        put_version(tx, version)


def put_alias(tx: Tx, key: Key, alias: Alias) -> None:
    """Make or replace an alias."""
    tx.upsert(
        aliases,
        {
            "account": key[0],
            "region": key[1],
            "name": key[2],
            "alias": alias.name,
            "version": alias.version,
            "description": alias.description,
            "weights": orjson.dumps(alias.weights),
            "revision_id": alias.revision_id,
        },
    )


def delete_alias(tx: Tx, key: Key, alias: str) -> None:
    tx.run(sa.delete(aliases).where(_is(aliases, key), aliases.c.alias == alias))
    delete_qualifier(tx, key, alias)


def put_policy(tx: Tx, key: Key, qualifier: str, statements: Sequence[Statement]) -> None:
    """Replace the policy of one qualifier; no statements: remove it."""
    if statements:
        tx.upsert(
            policies,
            {
                "account": key[0],
                "region": key[1],
                "name": key[2],
                "qualifier": qualifier,
                "statements": orjson.dumps(statements),
            },
        )
        return
    tx.run(sa.delete(policies).where(_is(policies, key), policies.c.qualifier == qualifier))


def put_attached(
    tx: Tx, key: Key, kind: str, qualifier: str, content: dict[str, Any] | None
) -> None:
    """Replace what is attached to a qualifier; None: remove it."""
    if content is not None:
        tx.upsert(
            attached,
            {
                "account": key[0],
                "region": key[1],
                "name": key[2],
                "kind": kind,
                "qualifier": qualifier,
                "content": orjson.dumps(content),
            },
        )
        return
    tx.run(
        sa.delete(attached).where(
            _is(attached, key), attached.c.kind == kind, attached.c.qualifier == qualifier
        )
    )


def delete_function(tx: Tx, function: Function) -> None:
    """Remove the function and everything that hangs on it, but for its last number."""
    key = function.key
    for table in (functions, versions, aliases, policies, attached):
        tx.run(sa.delete(table).where(_is(table, key)))
    if function.last_version:
        tx.upsert(
            last_numbers,
            {
                "account": key[0],
                "region": key[1],
                "name": key[2],
                "last_version": function.last_version,
            },
        )


def last_number(tx: Tx, key: Key) -> int:
    """The highest version number of a deleted function of this name; 0 for none."""
    asked = sa.select(last_numbers.c.last_version).where(_is(last_numbers, key))
    return tx.run(asked).scalar() or 0


def delete_version(tx: Tx, key: Key, version: str) -> None:
    tx.run(sa.delete(versions).where(_is(versions, key), versions.c.version == version))
    delete_qualifier(tx, key, version)


def delete_qualifier(tx: Tx, key: Key, qualifier: str) -> None:
    """Remove what hangs on a version or an alias: its policy and what is attached to it."""
    for table in (policies, attached):
        tx.run(sa.delete(table).where(_is(table, key), table.c.qualifier == qualifier))


def _is(table: sa.Table, key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.account == key[0], table.c.region == key[1], table.c.name == key[2])


def settings_of(content: bytes) -> FunctionSettings:
    """Return the settings that a row holds, without members that are unknown here."""
    members = orjson.loads(content)
    members["layers"] = tuple(LayerUse(*layer[:_LAYER_MEMBERS]) for layer in members["layers"])
    try:
        return FunctionSettings(**members)
    except TypeError:
        return FunctionSettings(**{name: members[name] for name in members.keys() & _SETTINGS})


def standing_of(content: bytes) -> ReasonedState:
    """Return the state that a row holds, without members that are unknown here."""
    return ReasonedState(*orjson.loads(content)[:_STANDING_MEMBERS])

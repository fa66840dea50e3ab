"""The tables of identity. One row holds one entity whole, so that one write changes it."""

from __future__ import annotations

import sqlalchemy as sa

from boda.storage.schema import Schema

metadata = Schema("iam")


def _table(name: str, key: str, *columns: sa.Column[object]) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        sa.Column("account", sa.String, primary_key=True),
        sa.Column(key, sa.String, primary_key=True),
        *columns,
    )


def _text(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.String, nullable=False)


def _moment(name: str) -> sa.Column[object]:
    """Seconds since the epoch."""
    return sa.Column(name, sa.Float, nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON, nullable=False)


users = _table(
    "iam_users",
    "name",
    _text("path"),
    _text("unique_id"),
    _moment("created_at"),
    _text("boundary"),
    _json("inline"),
    _json("attached"),
    _json("tags"),
)

groups = _table(
    "iam_groups",
    "name",
    _text("path"),
    _text("unique_id"),
    _moment("created_at"),
    _json("members"),
    _json("inline"),
    _json("attached"),
)

roles = _table(
    "iam_roles",
    "name",
    _text("path"),
    _text("unique_id"),
    _moment("created_at"),
    _text("trust"),
    _text("description"),
    sa.Column("max_session_s", sa.Integer, nullable=False),
    _text("boundary"),
    _json("inline"),
    _json("attached"),
    _json("tags"),
)

policies = _table(
    "iam_policies",
    "name",
    _text("path"),
    _text("unique_id"),
    _moment("created_at"),
    _moment("updated_at"),
    _text("description"),
    _text("default_version"),
    sa.Column("last_version", sa.Integer, nullable=False),
    _json("versions"),
    _json("tags"),
)

access_keys = _table(
    "iam_access_keys",
    "access_key_id",
    # The unique id of the user, or the account for the root user's keys.
    _text("owner"),
    _text("secret"),
    sa.Column("active", sa.Boolean, nullable=False),
    _moment("created_at"),
)

sessions = _table(
    "iam_sessions",
    "access_key_id",
    _text("secret"),
    _text("token"),
    _text("kind"),
    _text("arn"),
    _text("unique_id"),
    _text("policy_source"),
    _moment("expires_at"),
    _json("policies"),
    _json("policy_arns"),
    _json("tags"),
    _json("transitive"),
)

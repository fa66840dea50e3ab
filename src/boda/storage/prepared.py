"""Statements compiled once, for the few that run thousands of times a second.

SQLAlchemy looks up a compiled statement in its cache and wraps its result at every execution,
which takes ten times as long as SQLite takes for a row. A prepared statement is written with
SQLAlchemy all the same, and runs on the driver below it, in the same transaction.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.sql.dml import Insert, UpdateBase
from sqlalchemy.sql.selectable import Select

from boda.storage.database import driver


class PreparedStatement:
    """A statement whose parameters are ``sa.bindparam``s, or the columns of an insert.

    Its values and rows are SQLite's own: text, bytes, integers and floats, a boolean as 0 or 1.
    Raises TypeError for columns of other types, whose values SQLAlchemy would have to convert.
    """

    def __init__(self, statement: Select[Any] | UpdateBase) -> None:
        for column in _columns(statement):
            if not isinstance(column.type, _PLAIN):
                raise TypeError(f"{column} would need its values converted")
        compiled = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
        fixed = compiled.params
        self._sql = str(compiled)
        self._names = tuple((name, fixed[name]) for name in compiled.positiontup or ())

    def run(self, connection: Connection, values: dict[str, Any]) -> sqlite3.Cursor:
        """Execute the statement; return rows as tuples. Raises KeyError if a value is missing."""
        given = [
            values[name] if fixed is None else values.get(name, fixed)
            for name, fixed in self._names
        ]
        return driver(connection).execute(self._sql, given)


_PLAIN = (sa.Text, sa.String, sa.Integer, sa.Float, sa.LargeBinary, sa.Boolean)


def _columns(statement: Select[Any] | UpdateBase) -> list[sa.ColumnElement[Any]]:
    if isinstance(statement, Insert | sa.Update):
        return list(statement.table.columns)
    return list(statement.selected_columns) if isinstance(statement, Select) else []

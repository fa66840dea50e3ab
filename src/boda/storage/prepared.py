"""Statements compiled once for each engine, for those that run thousands of times a second.

SQLAlchemy looks up a compiled statement in its cache and wraps its result at every execution,
which takes ten times as long as SQLite takes for a row. A prepared statement is written with
SQLAlchemy all the same, and runs on the driver below it, in the same transaction.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.sql.selectable import SelectBase

Row = Sequence[Any]


class PreparedStatement:
    """A statement whose parameters are ``sa.bindparam``s, or the columns of an insert.

    Its values are text, bytes, integers, floats, booleans and None. Raises TypeError for columns
    of other types, whose values SQLAlchemy would have to convert.
    """

    def __init__(self, statement: SelectBase | UpdateBase) -> None:
        columns = list(statement.exported_columns)
        touched = list(statement.table.c) if isinstance(statement, sa.Insert | sa.Update) else []
        for column in (*columns, *touched):
            if not isinstance(column.type, _PLAIN):
                raise TypeError(f"{column} would need its values converted")
        self._statement = statement
        self._names = [column.key or "" for column in columns]
        self._booleans = [
            place for place, one in enumerate(columns) if isinstance(one.type, sa.Boolean)
        ]
        self._compiled: dict[str, DriverStatement] = {}

    def on(self, dialect: sa.Dialect) -> DriverStatement:
        """Return the statement as a driver takes it. The dialect numbers its parameters."""
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled = self._statement.compile(dialect=dialect)
            fixed = compiled.params
            found = self._compiled[dialect.name] = DriverStatement(
                str(compiled),
                tuple((name, fixed[name]) for name in getattr(compiled, "positiontup", ()) or ()),
                _row_maker(self._names, self._booleans),
            )
        return found


class DriverStatement:
    """sql: with parameters by place. row: makes a row of the driver's tuple."""

    __slots__ = ("_names", "row", "sql")

    def __init__(
        self, sql: str, names: tuple[tuple[str, Any], ...], row: Callable[[Row], Any]
    ) -> None:
        self.sql = sql
        self._names = names
        self.row = row

    def given(self, values: Mapping[str, Any]) -> list[Any]:
        """Return the values in the order of the parameters. Raises KeyError if one is missing."""
        return [
            values[name] if fixed is None else values.get(name, fixed)
            for name, fixed in self._names
        ]


class DriverCursor(Protocol):
    """The part of a driver's cursor that results need."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class DriverResult:
    """The rows of a prepared statement."""

    __slots__ = ("_cursor", "_row")

    def __init__(self, cursor: DriverCursor, row: Callable[[Row], Any]) -> None:
        self._cursor = cursor
        self._row = row

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def __iter__(self) -> Iterator[Any]:
        return map(self._row, self._cursor)

    def all(self) -> Sequence[Any]:
        return list(map(self._row, self._cursor.fetchall()))

    def first(self) -> Any:
        row = self._cursor.fetchone()
        return None if row is None else self._row(row)

    def scalar(self) -> Any:
        row = self.first()
        return None if row is None else row[0]


_PLAIN = (sa.Text, sa.String, sa.Integer, sa.Float, sa.LargeBinary, sa.Boolean)


def _row_maker(names: Sequence[str], booleans: list[int]) -> Callable[[Row], Any]:
    named: Any = namedtuple
    make: Callable[[Row], Any] = named("Row", names, rename=True)._make
    if not booleans:
        return make

    def converted(row: Row) -> Any:
        values = list(row)
        for place in booleans:
            if values[place] is not None:
                values[place] = bool(values[place])
        return make(values)

    return converted

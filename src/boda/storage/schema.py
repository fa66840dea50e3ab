"""The tables of a room or a service, and the migrations that led to them.

    metadata = Schema("s3", (Migration(1, "Give every upload an owner", give_owners),))

A schema that a database lacks is made from the tables as they are now, at the newest number. An
older one goes through each migration behind its own number, then what its tables still lack is
made: so a new table or index needs a migration that does nothing but raise the number, by which
an older boda refuses the folder. A migration sees the tables as they were before it, and may find
columns that a later one was going to add in tables that this start has made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from boda.storage.rows import Tx


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from an older shape of a schema's tables to the next one.

    number: one more than that of the migration before, from 1 on. purpose: one sentence for the
    log, without a full stop. run: called in a transaction of its own.
    """

    number: int
    purpose: str
    run: Callable[[Tx], object] = lambda _: None


class Schema(sa.MetaData):
    """The tables of a room or a service, and the migrations that led to them.

    name: identifies the schema in every database, so that it never changes.
    """

    def __init__(self, name: str, migrations: Sequence[Migration] = ()) -> None:
        super().__init__()
        self.name = name
        self.migrations = tuple(migrations)
        expected = list(range(1, len(self.migrations) + 1))
        assert [each.number for each in self.migrations] == expected, "numbered without a gap"

    @property
    def number(self) -> int:
        """The number of the newest migration, 0 if there is none."""
        return len(self.migrations)

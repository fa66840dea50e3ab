"""Metrics as in CloudWatch: per minute the count, sum, smallest and largest value.

Law of this file: memory is bounded. A series (name with its dimensions) beyond SERIES_LIMIT in
one hour is dropped and counted, so that request ids in dimensions harm only the metrics of whoever
puts them there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from boda.storage.rows import Tx
from boda.telemetry.tables import metric_minutes

SERIES_LIMIT = 20_000
MAX_DIMENSIONS = 30
MAX_NAME = 1024

# account, region, namespace, name, sorted dimensions, unit
Series = tuple[str, str, str, str, tuple[tuple[str, str], ...], str]


@dataclass(slots=True)
class Statistics:
    """The statistics of a series in a period."""

    samples: int
    sum: float
    minimum: float
    maximum: float

    def add(self, samples: int, total: float, minimum: float, maximum: float) -> None:
        self.samples += samples
        self.sum += total
        self.minimum = min(self.minimum, minimum)
        self.maximum = max(self.maximum, maximum)


@dataclass(frozen=True, slots=True)
class Datapoint:
    """The statistics of one period, which begins at start_s, epoch seconds."""

    start_s: int
    unit: str
    samples: int
    sum: float
    minimum: float
    maximum: float


class MetricBuffer:
    """Statistics that wait for the writer. dropped: samples of series beyond the bound."""

    def __init__(self) -> None:
        self.dropped = 0
        self._minutes: dict[tuple[Series, int], Statistics] = {}
        self._seen: set[Series] = set()
        self._seen_hour = -1

    def add(
        self,
        account: str,
        region: str,
        namespace: str,
        name: str,
        value: float,
        dimensions: Mapping[str, str] | None,
        unit: str,
        now_s: float,
    ) -> None:
        dimension = tuple(sorted(dimensions.items())) if dimensions else ()
        self.add_to((account, region, namespace, name, dimension, unit), value, now_s)

    def add_to(self, series: Series, value: float, now_s: float) -> None:
        moment = int(now_s)
        key = (series, moment - moment % 60)
        finite = math.isfinite(value)
        found = self._minutes.get(key)
        if found is not None and finite:
            # The usual case: the series was admitted in this minute already.
            found.samples += 1
            found.sum += value
            if value < found.minimum:
                found.minimum = value
            if value > found.maximum:
                found.maximum = value
        elif finite and self._admit(series, moment // 3600):
            self._minutes[key] = Statistics(1, value, value, value)
        else:
            self.dropped += 1

    def add_counted(self, counted: Mapping[tuple[Series, int], Statistics]) -> None:
        """Add statistics of finite values, which belong to the buffer from now on."""
        for key, found in counted.items():
            series, minute = key
            if (waiting := self._minutes.get(key)) is not None:
                waiting.add(found.samples, found.sum, found.minimum, found.maximum)
            elif self._admit(series, minute // 3600):
                self._minutes[key] = found
            else:
                self.dropped += found.samples

    def _admit(self, series: Series, hour: int) -> bool:
        if hour > self._seen_hour:  # samples of an earlier hour count in this one
            self._seen_hour = hour
            self._seen = set()
        if series in self._seen:
            return True
        _, _, namespace, name, dimension, _ = series
        sizes = [len(text) for text in (namespace, name, *(t for pair in dimension for t in pair))]
        if max(sizes) > MAX_NAME or len(dimension) > MAX_DIMENSIONS:
            return False
        if len(self._seen) >= SERIES_LIMIT:
            return False
        self._seen.add(series)
        return True

    def take(self) -> dict[tuple[Series, int], Statistics]:
        minutes, self._minutes = self._minutes, {}
        return minutes

    def put_back(self, taken: Mapping[tuple[Series, int], Statistics]) -> None:
        for key, found in taken.items():
            if (waiting := self._minutes.get(key)) is not None:
                waiting.add(found.samples, found.sum, found.minimum, found.maximum)
            else:
                self._minutes[key] = found


def dimension_text(dimensions: Mapping[str, str] | None) -> str:
    """Encode a set of dimensions, independent of their order."""
    if not dimensions:
        return "{}"
    return json.dumps(dict(sorted(dimensions.items())), separators=(",", ":"))


# Valid in SQLite and in PostgreSQL.
_ADD = sa.text(
    """
    INSERT INTO metric_minutes (account, region, namespace, name, dimensions, unit, minute_s,
        samples, sum, minimum, maximum)
    VALUES (:account, :region, :namespace, :name, :dimensions, :unit, :minute_s,
        :samples, :sum, :minimum, :maximum)
    ON CONFLICT (account, region, namespace, name, dimensions, unit, minute_s) DO UPDATE SET
        samples = metric_minutes.samples + excluded.samples,
        sum = metric_minutes.sum + excluded.sum,
        minimum = CASE WHEN metric_minutes.minimum < excluded.minimum
            THEN metric_minutes.minimum ELSE excluded.minimum END,
        maximum = CASE WHEN metric_minutes.maximum > excluded.maximum
            THEN metric_minutes.maximum ELSE excluded.maximum END
    """
)


def write_minutes(tx: Tx, taken: Mapping[tuple[Series, int], Statistics]) -> None:
    """Add statistics to the rows, in a transaction."""
    if taken:
        tx.run_many(
            _ADD,
            [
                {
                    "account": account,
                    "region": region,
                    "namespace": namespace,
                    "name": name,
                    "dimensions": dimension_text(dict(dimension)),
                    "unit": unit,
                    "minute_s": minute,
                    "samples": found.samples,
                    "sum": found.sum,
                    "minimum": found.minimum,
                    "maximum": found.maximum,
                }
                for (
                    (account, region, namespace, name, dimension, unit),
                    minute,
                ), found in taken.items()
            ],
        )


def read_datapoints(
    tx: Tx,
    account: str,
    region: str,
    namespace: str,
    name: str,
    dimensions: Mapping[str, str] | None,
    start_s: int,
    end_s: int,
    period_s: int,
) -> list[Datapoint]:
    """Return the periods of [start_s, end_s) that have samples, in order, one per unit.

    Raises ValueError unless period_s is a multiple of 60.
    """
    if period_s <= 0 or period_s % 60:
        raise ValueError("A period is a multiple of 60 seconds.")
    columns = metric_minutes.c
    period = (columns.minute_s - columns.minute_s % period_s).label("period_s")
    rows = tx.run(
        sa.select(
            period,
            columns.unit,
            sa.func.sum(columns.samples).label("samples"),
            sa.func.sum(columns.sum).label("sum"),
            sa.func.min(columns.minimum).label("minimum"),
            sa.func.max(columns.maximum).label("maximum"),
        )
        .where(
            columns.account == account,
            columns.region == region,
            columns.namespace == namespace,
            columns.name == name,
            columns.dimensions == dimension_text(dimensions),
            columns.minute_s >= start_s,
            columns.minute_s < end_s,
        )
        .group_by(period, columns.unit)
        .order_by(period, columns.unit)
    )
    return [
        Datapoint(r.period_s, r.unit, int(r.samples), r.sum, r.minimum, r.maximum) for r in rows
    ]
